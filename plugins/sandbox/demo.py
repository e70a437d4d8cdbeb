"""`darkroom demo`: a picture goes through a running proxy, is edited, comes back as bytes, and is verified."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess  # the proxy is started as an operator starts it
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pybase64

SUMMARY = "edit a picture through a proxy of its own, and verify the result"

PROMPT = "add a hat and make it sepia"
_MODEL = "darkroom-demo"
_PATIENCE = 30.0  # seconds for the proxy to come up


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Starts the proxy in the background with the config given, and leaves it running."
    parser.add_argument("--config", type=Path, default=Path("config.toml"), help="default: ./config.toml")
    parser.add_argument("--image", type=Path, help="a picture of yours; without it, one is drawn")
    parser.add_argument("--prompt", default=PROMPT, help=f"default: {PROMPT!r}")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for what is made; default: ./demo")
    parser.add_argument("--stop", action="store_true", help="stop the proxy that an earlier demo left running")


def main(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    pid_file = args.out / "proxy.pid"
    if _stop(pid_file) and args.stop:
        print("stopped the demo's proxy")
    if args.stop:
        return 0
    try:
        before, png = _picture(args.image)
        base = _start(args.config, args.out, pid_file)
        return _show(base, before, png, args, pid_file)
    except (_Failed, OSError) as error:
        _stop(pid_file)
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1


class _Failed(Exception):
    """Told to the person at the terminal."""


def _picture(path: Path | None) -> tuple[bytes, bytes]:
    """(the file as it is sent, the same as PNG); looked at before anything is started."""
    if path is None:
        drawn = _portrait()
        return drawn, drawn
    try:
        data = path.read_bytes()
        return data, _png(data)
    except OSError as error:
        raise _Failed(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise _Failed(f"{path} is no picture that the sandbox reads: {error}") from None


def _start(config: Path, out: Path, pid_file: Path) -> str:
    """Start a proxy in the background; returns its base URL once it answers."""
    listen = _free_address(config)
    log = (out / "proxy.log").open("wb")
    command = [sys.executable, "-m", "proxy_core", "run", "--config", str(config), "--listen", listen, "--log", "json"]
    with log:
        proxy = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    pid_file.write_text(str(proxy.pid), encoding="ascii")
    base = f"http://{listen}"
    ends = time.monotonic() + _PATIENCE
    while time.monotonic() < ends:
        if proxy.poll() is not None:
            raise _Failed(f"the proxy did not start:\n{(out / 'proxy.log').read_text(encoding='utf-8')}")
        try:
            urllib.request.urlopen(f"{base}/.well-known/darkroom/key.pem", timeout=2).close()  # noqa: S310  # loopback
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return base
    raise _Failed(f"the proxy did not answer within {_PATIENCE:g} s; see {out / 'proxy.log'}")


def _free_address(config: Path) -> str:
    """The config's own address if it is free, else a free port beside it."""
    try:
        listen = str(tomllib.loads(config.read_text(encoding="utf-8")).get("proxy", {}).get("listen", "127.0.0.1:8080"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise _Failed(f"cannot read {config}: {error}") from None
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise _Failed(f"proxy.listen in {config} is {listen!r}, not HOST:PORT")
    bare = host.removeprefix("[").removesuffix("]")
    for wanted in (int(port), 0):
        with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((bare, wanted))
            except OSError:
                print(f"   {listen} is taken, so another port is used")
                continue
            return f"{host}:{probe.getsockname()[1]}"
    raise _Failed(f"no port is free on {host}")


def _stop(pid_file: Path) -> bool:
    """End the proxy of an earlier demo, if it is still ours."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline")
        # A number may have been given to another process since: only a proxy is ended.
        if not command.exists() or b"proxy_core" in command.read_bytes():
            os.kill(pid, signal.SIGTERM)
            ends = time.monotonic() + _PATIENCE
            while _lives(pid) and time.monotonic() < ends:
                time.sleep(0.05)
    except (OSError, ValueError):
        return False
    finally:
        pid_file.unlink(missing_ok=True)
    return True


def _lives(pid: int) -> bool:
    """Whether a process still runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _show(base: str, before: bytes, png: bytes, args: argparse.Namespace, pid_file: Path) -> int:
    (args.out / "before.png").write_bytes(png)
    print(f"1. the proxy listens on {base}, started from {args.config} as it stands")
    print(f"2. sending {args.image or 'a picture drawn for this'} ({len(before)} bytes): {args.prompt!r}")
    answer = _edit(base, before, args.prompt)
    (args.out / "answer.json").write_bytes(orjson.dumps(answer))
    url: str = answer["choices"][0]["message"]["images"][0]["image_url"]["url"]
    after = pybase64.b64decode(url.partition(",")[2])
    (args.out / "after.png").write_bytes(after)
    (args.out / "receipt.json").write_bytes(orjson.dumps(answer["darkroom_receipt"], option=orjson.OPT_INDENT_2))
    (args.out / "key.pem").write_bytes(_get(f"{base}/.well-known/darkroom/key.pem"))
    print(f"3. the edit came back as bytes: {args.out / 'before.png'} -> {args.out / 'after.png'} ({len(after)} bytes)")
    for warning in answer.get("warnings", []):
        print(f"   warning: {warning}")
    print("4. verifying it:")
    good = _verify(args.out / "after.png", args.out)
    flipped = args.out / "after-with-one-bit-flipped.png"
    flipped.write_bytes(_flip(after))
    print("5. verifying it with one bit flipped:")
    bad = _verify(flipped, args.out)
    if (good, bad) != (0, 1):
        raise _Failed(f"verify answered {good} and {bad}, not 0 and 1")
    print(f"\nThe proxy goes on running. Point an OpenAI SDK at it:\n\n    base_url = {base}/v1    model = {_MODEL}\n")
    print(f"To stop it: make stop   (or: kill {pid_file.read_text(encoding='ascii')})")
    return 0


def _edit(base: str, picture: bytes, prompt: str) -> dict[str, Any]:
    """An edit by chat, the request that an OpenAI SDK would send."""
    url = f"data:image/png;base64,{pybase64.b64encode(picture).decode()}"
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": url}}]
    body = orjson.dumps({"model": _MODEL, "messages": [{"role": "user", "content": content}]})
    headers = {"Content-Type": "application/json", "Authorization": "Bearer not-needed-here"}
    request = urllib.request.Request(f"{base}/v1/chat/completions", body, headers)  # noqa: S310  # our own proxy
    try:
        with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
            answer: dict[str, Any] = orjson.loads(response.read())
            return answer
    except urllib.error.HTTPError as error:
        raise _Failed(f"the proxy answered {error.code}: {error.read().decode(errors='replace')}") from None


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  # our own proxy
        data: bytes = response.read()
        return data


def _verify(picture: Path, out: Path) -> int:
    """`darkroom verify`, as anyone would call it."""
    command = ["verify", str(picture), str(out / "receipt.json"), "--key", str(out / "key.pem")]
    print(f"   $ darkroom {' '.join(command)}", flush=True)
    done = subprocess.run(  # noqa: S603  # our own interpreter and module
        [sys.executable, "-m", "proxy_core", *command], capture_output=True, text=True, check=False
    )
    print("\n".join(f"   {line}" for line in (done.stdout + done.stderr).splitlines()))
    return done.returncode


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _png(data: bytes) -> bytes:
    """The picture as PNG, so that before and after can be laid side by side; whatever the file was is what is sent."""
    from .pixels import edit

    return edit("", [data], output_format="png")


def _portrait() -> bytes:
    """A figure before hills at dusk, so that a hat has a head to sit on."""
    import io

    from PIL import Image, ImageDraw

    scale, width, height = 2, 640, 640
    image = Image.new("RGB", (width * scale, height * scale))
    draw = ImageDraw.Draw(image)
    for y in range(height * scale):
        share = y / (height * scale)
        draw.line((0, y, width * scale, y), fill=(int(90 + 150 * share), int(140 + 60 * share), int(220 - 90 * share)))

    def oval(x: float, y: float, rx: float, ry: float, fill: tuple[int, int, int]) -> None:
        draw.ellipse(tuple(v * scale for v in (x - rx, y - ry, x + rx, y + ry)), fill=fill)

    for x, y, rx, ry, fill in ((120, 640, 320, 190, (70, 120, 90)), (520, 660, 360, 240, (50, 95, 80))):
        oval(x, y, rx, ry, fill)
    oval(320, 690, 210, 220, (150, 60, 70))  # shoulders
    oval(320, 500, 55, 90, (215, 165, 135))  # neck
    oval(320, 285, 150, 165, (70, 45, 30))  # hair
    oval(320, 345, 125, 160, (235, 190, 160))  # face
    for x in (270, 370):
        oval(x, 330, 24, 15, (250, 250, 250))
        oval(x, 330, 11, 12, (50, 80, 110))
    oval(320, 385, 13, 22, (215, 165, 135))
    draw.arc(tuple(v * scale for v in (265, 390, 375, 455)), 20, 160, fill=(165, 60, 60), width=8 * scale)
    out = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(out, "PNG")
    return out.getvalue()
