"""Python code in a subprocess of its own."""

import asyncio
import sys

from .tool import Arguments, Specification, clipped

TIMEOUT_S = 20.0


class PythonTool:
    specification = Specification(
        "python", "Run a Python program and return what it prints.", {"code": ("string", "the program")}
    )

    async def run(self, arguments: Arguments) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", str(arguments["code"])),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            return f"error: the program ran longer than {TIMEOUT_S:.0f} s"
        return clipped(output.decode("utf-8", "replace").strip() or "(no output)")
