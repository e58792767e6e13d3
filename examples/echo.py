"""A bot that repeats every text to its sender.

python examples/echo.py init --name echo --relay ADDRESS
python examples/echo.py invite
python examples/echo.py run
"""

from amanat.bots import Bot, Incoming, text

bot = Bot("echo")


@bot.on(text)
async def echo(message: Incoming) -> None:
    """Say it back."""
    message.reply(message.text)


if __name__ == "__main__":
    bot.main()
