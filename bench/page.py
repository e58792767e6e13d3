"""The page beside a full vault: bench/page.py [--runs N] [--json FILE].

The vault is that of bench/sdk.py: 500 conversations, one of which holds 100,000 messages. A process
of its own has it open and serves the page; a headless Chromium shows it. Texts arrive as if they
had come from others: with a row in the vault, its event, and everything that follows from these.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import sdk
from machine import Noise, cpu_s, resident_kib, spread, table
from playwright.async_api import async_playwright

from amanat import Client, page
from amanat.client.events import TextArrived
from amanat.drill.relays import RelayProcess

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, CDPSession, Page

SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-precise-memory-info",
    "--js-flags=--expose-gc",
)  # fmt: skip
RATE = 20
"""Texts that arrive in a second."""
SECONDS = 10
"""Seconds for which they arrive, in each part."""
NOTCHES = 150
"""Turns of the wheel in each direction."""
NOTCH_PX = 400
NOTCH_S = 0.03
IDLE_S = 20.0
IDLE_WINDOWS = 3
"""Times that an idle process is measured, each for IDLE_S: in the first, work of before may end."""
HOUR_TEXTS = 3_000
"""Texts of the simulated hour of use, in three parts."""
HOUR_CHATS = 40
"""Conversations opened in each part of it."""
WATCH = """() => {
  window.tasks = [];
  new PerformanceObserver((l) => { for (const e of l.getEntries()) tasks.push(e.duration); })
    .observe({ type: "longtask" });
  window.painted = [];
  new MutationObserver((all) => {
    for (const { addedNodes } of all) for (const node of addedNodes) {
      const said = /now=(\\d+\\.\\d+)/.exec(node.textContent ?? "");
      if (!said) continue;
      requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () =>
          painted.push(performance.timeOrigin + performance.now() - 1000 * Number(said[1]));
        channel.port2.postMessage(0);
      });
    }
  }).observe(document.querySelector("chat-history"), { childList: true, subtree: true });
  window.typed = [];
  document.querySelector("textarea").addEventListener("keydown", () => {
    const began = performance.now();
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => typed.push(performance.now() - began);
      channel.port2.postMessage(0);
    });
  });
}"""
"""Lets a page measure itself: long tasks, from arrival to paint, and from a key to the next
frame."""
SCROLL = """(share) => {
  const history = document.querySelector("chat-history");
  history.scrollTop = share * history.scrollHeight;
}"""
ANCHOR = """() => {
  const view = document.querySelector("chat-history").getBoundingClientRect();
  const all = [...document.querySelectorAll("chat-history article")];
  const seen = all.find((one) => one.getBoundingClientRect().bottom > view.top + 100);
  return [seen.textContent.slice(0, 60), seen.getBoundingClientRect().top];
}"""
"""A message on the screen, and where it is."""


async def serve(directory: Path) -> None:
    """The process that has the vault: prints a link for each empty line, and lets texts arrive for
    a line "GID RATE MANY"."""
    client = Client.open(directory, sdk.UNLOCK)
    authors = [secrets.token_bytes(32) for _ in range(3)]
    (clock,) = client._vault.read.execute(  # noqa: SLF001
        "SELECT max(clock) FROM message"
    ).fetchone()

    def arrive(gid: bytes) -> None:
        nonlocal clock
        clock += 1
        now = client.now()
        with client._unit() as unit:  # noqa: SLF001  # what others say cannot be made otherwise
            row = unit.db.execute(
                "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
                " kept_at, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(gid, secrets.token_bytes(16), secrets.token_bytes(16)),
                    *(authors[clock % 3], bytes(32), clock, clock, now, now),
                    f"سلام now={time.time():.6f}",
                ),
            ).lastrowid
            unit.events.append(TextArrived(gid, row or 0))

    client.mark_read()
    client.start()
    house = page.House(directory)
    loop = asyncio.get_running_loop()
    async with page.serving(house, port=0) as server, house.hosting(client):
        while True:
            line = (await loop.run_in_executor(None, sys.stdin.readline)).split()
            if not line:
                print(server.link(), flush=True)
            elif line[0] == "end":
                break
            else:
                gid, rate, many = bytes.fromhex(line[0]), float(line[1]), int(line[2])
                began = loop.time()
                for number in range(many):
                    arrive(gid)
                    await asyncio.sleep(max(0.0, began + (number + 1) / rate - loop.time()))
                print("done", flush=True)
    await client.close()


class Served:
    """The process that serves, as the benchmark sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, directory: Path) -> Served:
        """Start it."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, "--serve", str(directory)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def say(self, line: str) -> str:
        """Say a line; the answer."""
        self.tell(line)
        return await self.answer()

    def tell(self, line: str) -> None:
        """Say a line, and do not wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def answer(self) -> str:
        """Its next line."""
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def end(self) -> None:
        """End it."""
        self.tell("end")
        await self._process.wait()


Figures = defaultdict[str, list[float]]


async def loads(figures: Figures, served: Served, context: BrowserContext) -> Page:
    """A first load and a reload; the tab."""
    tab = await context.new_page()
    line = await context.new_cdp_session(tab)
    sizes: list[float] = []
    await line.send("Network.enable")
    line.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    link = await served.say("")
    began = time.perf_counter()
    await tab.goto(link)
    await tab.wait_for_selector("html[data-usable]", state="attached")
    figures["first load, ms"].append(1000 * (time.perf_counter() - began))
    await asyncio.sleep(0.5)
    figures["first load, KiB"].append(sum(sizes) / 1024)
    began = time.perf_counter()
    await tab.reload()
    await tab.wait_for_selector("html[data-usable]", state="attached")
    figures["reload, ms"].append(1000 * (time.perf_counter() - began))
    return tab


async def open_chat(tab: Page, gid: str) -> None:
    """Open a conversation, at its end."""
    await tab.locator(f'chat-list a[href="#{gid}"]').click()
    await tab.locator("chat-history article").last.wait_for()
    await tab.locator("textarea").press("Control+End")
    await tab.evaluate(
        "() => { const e = document.querySelector('chat-history'); e.scrollTop = e.scrollHeight }"
    )
    await asyncio.sleep(0.5)


async def arrivals(figures: Figures, served: Served, tab: Page, gid: str) -> None:
    """Texts arrive while the person writes."""
    await tab.evaluate("() => { painted.length = typed.length = 0 }")
    served.tell(f"{gid} {RATE} {RATE * SECONDS}")
    await tab.locator("textarea").click()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        await tab.keyboard.type("سلام این یک پیام است ", delay=40)
    await served.answer()
    await asyncio.sleep(0.5)
    painted, typed = (
        sorted(await tab.evaluate("() => painted")),
        sorted(await tab.evaluate("() => typed")),
    )
    figures["texts painted"].append(len(painted))
    figures["arrival to paint p50, ms"].append(spread(painted)[1])
    figures["arrival to paint p99, ms"].append(painted[int(0.99 * (len(painted) - 1))])
    figures["key to frame p95, ms"].append(typed[int(0.95 * (len(typed) - 1))])
    await tab.fill("textarea", "")


async def scrolls(figures: Figures, served: Served, tab: Page, gid: str) -> None:
    """The wheel up and down, and an anchor while texts arrive."""
    box = await tab.locator("chat-history").bounding_box()
    assert box is not None
    await tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for name, by in (("up", -NOTCH_PX), ("down", NOTCH_PX)):
        await tab.evaluate("() => { tasks.length = 0 }")
        for _ in range(NOTCHES):
            await tab.mouse.wheel(0, by)
            await asyncio.sleep(NOTCH_S)
        tasks = await tab.evaluate("() => tasks")
        figures[f"wheel {name}: tasks over 50 ms"].append(len(tasks))
        figures[f"wheel {name}: longest of them, ms"].append(max(tasks, default=0))
    await tab.evaluate(SCROLL, 0.5)
    await asyncio.sleep(1)
    text, before = await tab.evaluate(ANCHOR)
    await served.say(f"{gid} {RATE} {RATE * 3}")
    await asyncio.sleep(0.3)
    again, after = await tab.evaluate(ANCHOR)
    figures["anchor moved, px"].append(abs(after - before) if text == again else float("inf"))


async def search(figures: Figures, tab: Page) -> None:
    """From the last key of a word to the first message found."""
    await tab.evaluate(
        """() => { window.found = 0; const box = document.querySelector("nav input");
        box.addEventListener("input", () => {
          const began = performance.now();
          const look = () => document.querySelector("room-find mark")
            ? (window.found = performance.now() - began) : requestAnimationFrame(look);
          requestAnimationFrame(look);
        }, { once: true }); }"""
    )
    await tab.locator("nav input").focus()
    await tab.keyboard.insert_text("زندگی")
    await tab.wait_for_function("() => window.found")
    figures["search to first result, ms"].append(await tab.evaluate("() => window.found"))
    await tab.keyboard.press("Escape")


async def heap_mib(line: CDPSession) -> float:
    """The memory that scripts hold after a collection of garbage, in MiB."""
    await line.send("HeapProfiler.collectGarbage")
    metrics = (await line.send("Performance.getMetrics"))["metrics"]
    used: float = next(one["value"] for one in metrics if one["name"] == "JSHeapUsedSize")
    return used / 2**20


async def hour(figures: Figures, served: Served, tab: Page, gid: str) -> None:
    """An hour of use in three parts: conversations opened, texts arriving."""
    line = await tab.context.new_cdp_session(tab)
    await line.send("Performance.enable")
    rows = tab.locator("chat-list a")
    for part in (1, 2, 3):
        for number in range(HOUR_CHATS):
            await rows.nth(number).click()
            await asyncio.sleep(0.1)
        await open_chat(tab, gid)
        await served.say(f"{gid} 200 {HOUR_TEXTS // 3}")
        figures[f"heap after part {part} of an hour, MiB"].append(await heap_mib(line))


async def idle(figures: Figures, served: Served) -> None:
    """The process with nothing to do."""
    figures["client process, MiB"].append(resident_kib(served.pid) / 1024)
    for _ in range(IDLE_WINDOWS):
        before, began = cpu_s(served.pid), time.monotonic()
        await asyncio.sleep(IDLE_S)
        used = cpu_s(served.pid) - before
        figures["idle, % of a core"].append(100 * used / (time.monotonic() - began))


async def once(figures: Figures, directory: Path, gid: str) -> None:
    """Serve the vault and measure everything once."""
    async with async_playwright() as driver:
        began = time.perf_counter()
        served = await Served.start(directory)
        await served.say("")
        figures["process to link, without a passphrase, ms"].append(
            1000 * (time.perf_counter() - began)
        )
        chromium = await driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=SWITCHES
        )
        context = await chromium.new_context(locale="fa-IR")
        tab = await loads(figures, served, context)
        await tab.evaluate(WATCH)
        await open_chat(tab, gid)
        await arrivals(figures, served, tab, gid)
        await scrolls(figures, served, tab, gid)
        await search(figures, tab)
        await hour(figures, served, tab, gid)
        await chromium.close()
        await idle(figures, served)
        await served.end()


async def main() -> None:
    """Fill a vault, serve it, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        await serve(args.serve)
        return
    noise, figures = Noise(), Figures(list)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as root:
        relay = RelayProcess(Path(root) / "relay", people=1)
        relay.run()
        try:
            gid = (await sdk.fill(Path(root) / "person", relay.address)).hex()
            for run in range(args.runs):
                print(f"run {run + 1} of {args.runs}", file=sys.stderr)
                noise.sample()
                await once(figures, Path(root) / "person", gid)
        finally:
            relay.stop()
    report(figures, noise)
    if args.json:
        args.json.write_text(json.dumps({"noise": noise.summary(), "figures": figures}, indent=2))


def report(figures: dict[str, list[float]], noise: Noise) -> None:
    """Print a table in Markdown."""
    rows: list[list[str]] = []
    for what, values in figures.items():
        least, median, most = spread(values)
        rows.append([what, f"{least:.1f}", f"{median:.1f}", f"{most:.1f}"])
    print(f"{noise}\n")
    print(table(["what", "least", "median", "most"], rows))


if __name__ == "__main__":
    asyncio.run(main())
