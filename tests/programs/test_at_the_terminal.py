"""What a person does to a program that was just typed."""

import shlex
import signal

import pytest
from stage import BlackHole, wait_until


def test_ctrl_c_while_connecting_at_the_start(pipe):
    """INT before there is a pipe ends the program by that signal, without another word."""
    hole = BlackHole(pipe.stage.port)
    pipe.stage.closing.append(hole.close)
    pipe.client.start()
    wait_until(hole.holds_somebody, "the client does not try to connect")
    pipe.client.signal(signal.SIGINT)
    assert pipe.client.wait(5) == -signal.SIGINT
    assert pipe.client.log == ""


@pytest.mark.parametrize("program", ["tcppipe", "tcppiped", "gen_numbers", "fetch_logs"])
def test_the_head_of_a_long_answer(stage, program):
    """-T prints more than its reader wants: it ends without a word."""
    line = {
        "tcppipe": "-f /log/{} -h archive",
        "tcppiped": "web{}:/log/a.log | /archive/%h/%f",
        "gen_numbers": '$files{{"/log/{}"}} = "/log/{}.*";',
        "fetch_logs": "web1 19 /log/{0} /archive/{0} /pointer/{0}",
    }[program]
    conf = stage.path / "conf"
    conf.write_text("".join(line.format(number, number) + "\n" for number in range(3000)))
    options = {"tcppipe": ["-T", "-c"], "tcppiped": ["-T", "-f"]}.get(program, ["-T"])
    command = shlex.join(map(str, [*stage.program(program), *options, conf]))
    done = stage.run(["sh", "-c", f"{command} | head -n 1"])
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
