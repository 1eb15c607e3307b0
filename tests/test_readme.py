"""README is true of the code, and short enough to be read.

What can be checked of it without a network is: links, scripts, options, messages, and the lines
of configurations, which the programs themselves check.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tcppipe.programs import fetch_logs, gen_numbers, pipe_options, tcppiped

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPEED = (ROOT / "scripts/speed/README.md").read_text(encoding="utf-8")
SPECS = {
    "tcppipe": pipe_options.SPEC,
    "tcppiped": tcppiped.SPEC,
    "gen_numbers": gen_numbers.SPEC,
    "fetch_logs": fetch_logs.SPEC,
}
# What stands in a message for what differs.
CAUSES = r"\b[A-Z]+\b|\.\.\.|refused: |No space left on device|Connection refused"


def section(heading):
    """The text below a heading, up to the next one."""
    return re.split(r"^## ", README.split(f"## {heading}\n", 1)[1], flags=re.MULTILINE)[0]


def test_it_is_read_in_ten_minutes():
    """Figures, options and formats have pages of their own."""
    assert len(README.split()) < 2000


@pytest.mark.parametrize("text, base", [(README, ROOT), (SPEED, ROOT / "scripts/speed")])
def test_links_lead_somewhere(text, base):
    """Those to files of ours."""
    links = re.findall(r"\]\((?!https:)([^)]+)\)", text)
    assert links
    for link in links:
        assert (base / link).exists(), link


@pytest.mark.parametrize("text", [README, SPEED])
def test_scripts_and_their_options_are_there(text):
    """A script that is named can be started, and knows the options that it is given."""
    for name, words in re.findall(r"scripts/([a-z]+)\b(?!/)((?: [^`|\n]*)?)", text):
        script = ROOT / "scripts" / name
        assert script.exists(), name
        if script.is_file():
            source = script.read_text() + "".join(
                path.read_text()
                for pattern in (
                    "scripts/speed/*.py",
                    "tests/sim/torture.py",
                    "tests/sim/powercut.py",
                )
                for path in ROOT.glob(pattern)
            )
            for option in re.findall(r"(?<!\S)--[a-z-]+", words):
                assert option in source, (name, option)


def test_options_are_those_of_the_programs():
    """Each command line of ours has only options that its program takes."""
    commands = re.findall(
        r"^    (?:.*\s|/\S*/)?(tcppiped?|gen_numbers|fetch_logs) (.*)$", README, re.M
    )
    commands += re.findall(r"`(tcppiped?|gen_numbers|fetch_logs) ([^`]*)`", README)
    assert len(commands) > 10
    for program, words in commands:
        for word in re.findall(r"(?<!\S)-(-[a-z-]{2,}|\w)\b", words.partition("#")[0]):
            assert word.lstrip("-") in SPECS[program], (program, word)


def test_messages_are_those_of_the_code():
    """The table of what one sees."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tcppipe").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    rows = re.findall(r"^\| (`.*?`) \|", section("When something is wrong"), re.MULTILINE)
    assert len(rows) > 10
    for said in re.findall("`(.*?)`", " ".join(rows)):
        for words in re.split(CAUSES, said):
            words = words.strip(" :,")
            assert words in source, words


CHECKS = {
    "tcppipe.conf": ["tcppiped", "-T", "-f"],
    "tcppipe.list": ["tcppipe", "-T", "-c"],
    "fetch_logs.conf": ["fetch_logs", "-T"],
    "gen_numbers.locals": ["gen_numbers", "-T"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_lines_of_configurations_are_valid(name, tmp_path):
    """Whoever types them gets what the program takes."""
    if name == "gen_numbers.locals":
        lines = re.findall(r"^    (\$.*;)$", README, re.MULTILINE)
    else:
        lines = re.findall(rf"^    echo '(.*)' >> /etc/{name}$", README, re.MULTILINE)
    assert lines
    file = tmp_path / name
    file.write_text("\n".join(lines) + "\n")
    program, *options = CHECKS[name]
    command = [sys.executable, str(ROOT / "bin" / program), *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
