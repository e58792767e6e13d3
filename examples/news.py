"""A bot that passes on news: new items of a JSON Feed (jsonfeed.org, version 1.1) in a file.

    FEED=feed.json python examples/news.py run

Everyone who has used its invite, or has added it to a group, gets every item once.
"""

import asyncio
import json
import os
from pathlib import Path

from amanat.bots import Bot, Incoming, Run, command

FEED = Path(os.environ.get("FEED", "feed.json"))
EVERY_S = float(os.environ.get("EVERY_S", "60"))
REMEMBERED = 200
"""Most items of the feed that the bot remembers as told."""

bot = Bot("news")


@bot.on(command("help"))
async def explain(message: Incoming) -> None:
    """Explain what the bot does."""
    message.reply("News, as they come. Remove me from the group, or block me, to end it.")


@bot.every(EVERY_S)
async def pass_on(run: Run) -> None:
    """Send new items; the bot saves the list of sent ones together with the messages."""
    told = run.state.get("told")
    told = told if isinstance(told, list) else []
    feed = json.loads(await asyncio.to_thread(FEED.read_text, "utf-8"))
    for item in reversed(feed["items"]):
        if item["id"] not in told:
            run.send_to_all(f"{item.get('title', '')}\n{item.get('url', '')}".strip())
            told.append(item["id"])
    run.state["told"] = told[-REMEMBERED:]


if __name__ == "__main__":
    bot.main()
