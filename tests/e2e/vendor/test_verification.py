"""The guide's functions that verify a signature say of every case of the test vector what it says, in each language."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdc_bridge.guides import Guide, guide_text
from cdc_bridge.vendor.contract import RECEIVERS, text_of
from tests.e2e.vendor.programs import FASTER_START, FILES, compile_, installed, interpreter

VECTOR = json.loads(text_of("signature-vector.json"))
OTHER_SECRET = "whsec_" + b64encode(b"another key, of nobody either...").decode()
MOST_LINES = 15
"""Of a function."""

FENCES = {"python": "python", "node": "js", "php": "php", "java": "java", "csharp": "csharp"}
IMPORTS = re.compile(r"^(?:(?:import|from|using) .*\n|\n)*")

CALLS = {
    "python": """{imports}
import sys

{function}
for line in sys.stdin:
    secrets, id_, timestamp, signatures, body, now = (b64decode(field) for field in line.split("|"))
    texts = (each.decode() for each in (id_, timestamp, signatures))
    print(is_genuine(secrets.decode().split(), *texts, body, float(now)))
""",
    "node": """{imports}
import fs from "node:fs";
{function}
for (const line of fs.readFileSync(0, "utf8").trimEnd().split("\\n")) {{
  const [secrets, id, timestamp, signatures, body, now] = line.split("|").map((field) => Buffer.from(field, "base64"));
  const texts = [`${{id}}`, `${{timestamp}}`, `${{signatures}}`];
  console.log(isGenuine(`${{secrets}}`.split(" "), ...texts, body, Number(`${{now}}`)));
}}
""",
    "php": """<?php
declare(strict_types=1);
{function}
foreach (file('php://stdin', FILE_IGNORE_NEW_LINES) as $line) {{
    [$secrets, $id, $timestamp, $signatures, $body, $now] = array_map('base64_decode', explode('|', $line));
    var_export(is_genuine(explode(' ', $secrets), $id, $timestamp, $signatures, $body, (int) $now));
    echo "\\n";
}}
""",
    "java": """{imports}
public class Check {{
    {function}
    static byte[] field(String[] line, int number) {{ return Base64.getDecoder().decode(line[number]); }}
    static String text(String[] line, int number) {{ return new String(field(line, number), UTF_8); }}
    public static void main(String[] arguments) throws Exception {{
        for (Scanner lines = new Scanner(System.in); lines.hasNextLine();) {{
            String[] line = lines.nextLine().split("\\\\|");
            List<String> secrets = List.of(text(line, 0).split(" "));
            long now = Long.parseLong(text(line, 5));
            System.out.println(isGenuine(secrets, text(line, 1), text(line, 2), text(line, 3), field(line, 4), now));
        }}
    }}
}}
""",
    "csharp": """{imports}
static class Check
{{
    {function}
    static void Main()
    {{
        for (string line; (line = Console.ReadLine()) != null;)
        {{
            byte[][] fields = line.Split('|').Select(Convert.FromBase64String).ToArray();
            string[] texts = fields.Select(Encoding.UTF8.GetString).ToArray();
            string[] secrets = texts[0].Split(' ');
            Console.WriteLine(IsGenuine(secrets, texts[1], texts[2], texts[3], fields[4], long.Parse(texts[5])));
        }}
    }}
}}
""",
}
"""What a test calls each function with: lines of fields in base64, from standard input."""


@dataclass(frozen=True)
class Case:
    """What is verified, and whether it is genuine."""

    what: str
    genuine: bool
    headers: dict[str, str]
    body: bytes = b64decode(VECTOR["body_base64"])
    secrets: Sequence[str] = (VECTOR["secret"],)
    now: int = VECTOR["now"]

    def line(self) -> str:
        headers = (self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        fields = [" ".join(self.secrets).encode(), *(each.encode() for each in headers), self.body]
        return "|".join(b64encode(field).decode() for field in (*fields, str(self.now).encode()))


SIGNED = VECTOR["cases"][0]["headers"]
CASES = [
    *(
        Case(each["case"], each["valid"], each["headers"], b64decode(each.get("body_base64", VECTOR["body_base64"])))
        for each in VECTOR["cases"]
    ),
    Case("two secrets, the second is right", True, SIGNED, secrets=(OTHER_SECRET, VECTOR["secret"])),
    Case("two secrets, the first is right", True, SIGNED, secrets=(VECTOR["secret"], OTHER_SECRET)),
    Case("two secrets, none is right", False, SIGNED, secrets=(OTHER_SECRET, OTHER_SECRET)),
    Case("five minutes later", True, SIGNED, now=VECTOR["now"] + 300),
    Case("a second more", False, SIGNED, now=VECTOR["now"] + 301),
    Case("from the future", False, SIGNED, now=VECTOR["now"] - 301),
    Case("another version of signatures", False, SIGNED | {"webhook-signature": SIGNED["webhook-signature"][1:]}),
    Case("a part of the signature", False, SIGNED | {"webhook-signature": SIGNED["webhook-signature"][:-1]}),
    Case("not ASCII", False, SIGNED | {"webhook-signature": "v1,é"}),
    Case("no time", False, SIGNED | {"webhook-timestamp": ""}),
    Case("not a number", False, SIGNED | {"webhook-timestamp": "nan"}),
    Case("a very large number", False, SIGNED | {"webhook-timestamp": "9" * 400}),
    Case("nothing", False, {}, b""),
]


def snippet(language: str) -> tuple[str, str]:
    """Return the guide's imports and function."""
    (block,) = re.findall(rf"^```{FENCES[language]}\n(.*?)^```", guide_text(Guide.VENDOR), re.MULTILINE | re.DOTALL)
    imports = IMPORTS.match(block)
    assert imports is not None
    return imports[0], block[imports.end() :]


@pytest.mark.parametrize("language", RECEIVERS)
def test_function_agrees_with_the_vector(language: str, tmp_path: Path) -> None:
    imports, function = snippet(language)
    file = tmp_path / {"java": "Check.java", "node": "check.mjs"}.get(language, "check")
    file.write_text(CALLS[language].format(imports=imports, function=function), encoding="utf-8")
    match language:
        case "java":
            command = [installed("java"), *FASTER_START, str(file)]
        case "csharp":
            compile_(installed("mcs"), "-langversion:5", f"-out:{file}.exe", str(file))
            command = [installed("mono"), f"{file}.exe"]
        case _:
            command = [interpreter(language), str(file)]
    lines = "".join(f"{case.line()}\n" for case in CASES)
    ran = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = [line.lower() == "true" for line in ran.stdout.splitlines()]
    assert dict(zip((case.what for case in CASES), found, strict=True)) == {case.what: case.genuine for case in CASES}


@pytest.mark.parametrize("language", RECEIVERS)
def test_function_is_that_of_the_example_receiver(language: str) -> None:
    _, function = snippet(language)
    receiver = [line.strip() for line in FILES[language].read_text(encoding="utf-8").splitlines()]
    lines = [line.strip() for line in function.strip().splitlines()]
    assert len(lines) <= MOST_LINES
    begin = receiver.index(lines[0])
    assert receiver[begin : begin + len(lines)] == lines
