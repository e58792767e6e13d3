"""All words of the drill's report, in each of its languages."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """All words of the page, in one language."""

    lang: str
    direction: str
    other: str
    comma: str
    semicolon: str
    title: str
    lead: str
    loses: str
    loses_none: str
    wins: str
    table: str
    table_lead: str
    real: str
    details: str
    how: str
    base: str
    guess: str
    control: str
    settings: str
    names: dict[str, str]
    designs: dict[str, str]
    verdicts: dict[str, str]
    asks: dict[str, str]


ENGLISH = Words(
    lang="en",
    direction="ltr",
    other='<a href="#fa" lang="fa">فارسی</a>',
    comma=", ",
    semicolon="; ",
    title="The seizure drill",
    lead="Somebody holds the server: its disk, its logs, its memory, and keeps records of everything"
    " from now on. The same people said the same things through five kinds of server. This is what"
    " each of them gives away.",
    loses="Where Amanat loses",
    loses_none="Nowhere, by the bounds of this drill. The table shows the bounds.",
    wins="Where it holds",
    table="The one table",
    table_lead="Average precision for who writes to whom and who shares a group: 1 is everything,"
    " the base rate is the share that a guess finds. In the last columns green is within its bound,"
    " red is not.",
    real="The real servers were loaded with the first {messages} messages of one seed, and then their"
    " disks were read. Base rates there: {bases}.",
    details="Every figure",
    how="Bars are the mean over seeds, thin lines its 95 % interval, the gold mark the base rate or a"
    " guess.",
    base="base rate",
    guess="a guess",
    control="Positive control: where the server is told the graph, the attacks on it find",
    settings="{people} people, {days} days, {seeds} seeds, trace {trace}; attackers were tuned on"
    " other seeds.",
    names={
        "contacts": "Who writes to whom",
        "groups": "Who shares a group",
        "presence": "Which visits are one person's",
        "ip": "Network addresses",
        "infiltrator": "An infiltrator, and the ISP",
        "sizes": "Who got a known text",
        "puppets": "Buckets filled with puppets",
        "content": "What was said",
        "plaintext": "Which of two known texts",
        "identifiers": "People named by a stored field",
        "device": "The person's own machine",
        "unsealed-answer": "A hop that asks twice",
        "metadata": "Place and camera in pictures",
        "lure": "Files that lure a client away",
        "picture-or-text": "A file or a text",
        "files-line": "The line that fetches a file",
        "files-ledger": "A known file, by the public ledger",
        "deletion": "Silent deletion",
        "rollback": "Rollback and two faces",
        "substitution": "Swapped keys and added members",
        "replay": "Repeated and reordered cells",
        "copied-vault": "A vault copied once",
        "stolen-backup": "A stolen backup",
        "backup-truth": "A backup that is not whole",
        "two-live": "A device and its restored profile",
        "insider": "A member who lies with valid keys",
    },
    designs={
        "cloud": "cloud",
        "federated": "federated",
        "ejabberd": "ejabberd, real",
        "synapse": "Matrix Synapse, real",
        "sealed": "sealed mailbox",
        "perqueue": "a queue per contact",
        "direct": "Amanat, direct",
        "hopped": "Amanat, hopped",
        "covered": "Amanat, covered",
        "amanat": "Amanat",
    },
    verdicts={"holds": "holds", "fails": "fails", "control": "control", "shown": ""},
    asks={
        "contacts": "Answers follow questions. Who gets something just after somebody else?",
        "groups": "Copies of one message come together. Who receives at once?",
        "presence": "Somebody comes back: which earlier visitor is it? And who was always there when a pseudonym posted?",
        "ip": "Whose address stands beside a message?",
        "infiltrator": "A post appears in the group. Whose line has just sent something?",
        "sizes": "A leaflet is 4,000 bytes long. Which entries are?",
        "puppets": "Most people of a bucket are the operator's. Who are the others?",
        "content": "A thousand texts that were never said before: are they anywhere?",
        "plaintext": "Yes, or no and do not ask again: which was it? 0.5 is a coin.",
        "identifiers": "How many bits of a person does a column hold?",
        "device": "The vault is open. Are texts that have disappeared still there?",
        "unsealed-answer": "A hop makes another request under the id of a sealed one. Can it read the answer?",
        "metadata": "Fifty pictures say where they were taken. Do they still say it once they are sent?",
        "lure": "A contact sends files that rest at relays of her choice. Does a client call them by itself?",
        "picture-or-text": "A cell comes into a bucket. Does it announce a file? 0.5 is a coin.",
        "files-line": "A line sent something as long as this. Which line has just got as much?",
        "files-ledger": "A leaflet is so many cells long. Which file of that day is it?",
        "deletion": "The server drops cells. Is it noticed, and how soon?",
        "rollback": "The server shows yesterday's state, or two people two states. Is it noticed?",
        "substitution": "The server swaps a key, or adds a member. Is it accepted?",
        "replay": "The server repeats and reorders. Is anything shown twice?",
        "copied-vault": "Somebody copied the vault once, and the relay keeps everything. How many later words do they read?",
        "stolen-backup": "Somebody stole a backup, and the relay keeps everything. How many words do they read?",
        "backup-truth": "A disk spoils a backup. Is any of it restored all the same?",
        "two-live": "A profile is restored while the old device goes on. Does it speak with used keys?",
        "insider": "A member says anything, to anybody, with valid keys. Do the others keep their group and their words?",
    },
)
PERSIAN = Words(
    lang="fa",
    direction="rtl",
    other='<a href="#en" lang="en">English</a>',
    comma="، ",
    semicolon="؛ ",
    title="تمرین توقیف",
    lead="کسی سرور را در دست دارد: دیسک، گزارش‌ها و حافظه‌اش را، و از این پس همه‌چیز را ثبت می‌کند."
    " همان آدم‌ها همان حرف‌ها را از راه پنج گونه سرور زده‌اند. این است آنچه هر کدام لو می‌دهد.",
    loses="جایی که امانت می‌بازد",
    loses_none="با معیارهای این تمرین، هیچ‌جا. معیارها در جدول آمده‌اند.",
    wins="جایی که پابرجاست",
    table="جدولی که مهم است",
    table_lead="میانگین دقت برای این‌که چه کسی به چه کسی می‌نویسد و چه کسانی هم‌گروه‌اند: ۱ یعنی همه‌چیز، و نرخ"
    " پایه یعنی آنچه با حدس به دست می‌آید. در ستون‌های آخر سبز یعنی در محدوده و سرخ یعنی بیرون از آن.",
    real="سرورهای واقعی با {messages} پیام نخست یک بذر پر شدند، و آنچه سپس خوانده شد دیسک آن‌هاست. نرخ پایه در"
    " آن‌جا: {bases}.",
    details="همهٔ رقم‌ها",
    how="میله‌ها میانگین روی بذرهاست، خط نازک بازهٔ ۹۵ درصد، و نشان طلایی نرخ پایه یا حدس.",
    base="نرخ پایه",
    guess="حدس",
    control="شاهد مثبت: جایی که سرور خود رابطه‌ها را می‌داند، حمله‌ها می‌یابند",
    settings="{people} نفر، {days} روز، {seeds} بذر، ردِ {trace}؛ مهاجمان روی بذرهای دیگری تنظیم شده‌اند.",
    names={
        "contacts": "چه کسی به چه کسی می‌نویسد",
        "groups": "چه کسانی هم‌گروه‌اند",
        "presence": "کدام آمدن‌ها از یک نفر است",
        "ip": "نشانی‌های شبکه",
        "infiltrator": "نفوذی در گروه، و شرکت اینترنت",
        "sizes": "متن شناخته به چه کسی رسید",
        "puppets": "سطل‌های پر از عروسک",
        "content": "آنچه گفته شد",
        "plaintext": "کدام یک از دو متن شناخته",
        "identifiers": "یک ستون از دیسک چه کسی را نام می‌برد",
        "device": "دستگاه خودِ شخص",
        "unsealed-answer": "واسطه‌ای که دو بار می‌پرسد",
        "metadata": "جا و دوربین در عکس‌ها",
        "lure": "پرونده‌هایی که برنامه را به جای دیگر می‌کشانند",
        "picture-or-text": "پرونده یا متن",
        "files-line": "خطی که پرونده را می‌گیرد",
        "files-ledger": "پروندهٔ شناخته، تنها از دفتر عمومی",
        "deletion": "حذف بی‌صدا",
        "rollback": "بازگرداندن و دورویی",
        "substitution": "تعویض کلید و افزودن عضو",
        "replay": "تکرار و جابه‌جایی",
        "copied-vault": "گاوصندوقی که یک بار رونوشت شد",
        "stolen-backup": "پشتیبان دزدیده‌شده",
        "backup-truth": "پشتیبانی که سالم نیست",
        "two-live": "دستگاه و نمایهٔ بازگردانده‌شده",
        "insider": "عضوی که با کلیدهای درست دروغ می‌گوید",
    },
    designs={
        "cloud": "ابری",
        "federated": "فدرال",
        "ejabberd": "ejabberd واقعی",
        "synapse": "Matrix Synapse واقعی",
        "sealed": "صندوق مهروموم",
        "perqueue": "صف برای هر مخاطب",
        "direct": "امانت، مستقیم",
        "hopped": "امانت، با واسطه",
        "covered": "امانت، با پوشش",
        "amanat": "امانت",
    },
    verdicts={"holds": "پابرجا", "fails": "می‌بازد", "control": "شاهد", "shown": ""},
    asks={
        "contacts": "پاسخ در پی پرسش می‌آید. پس از چه کسی برای چه کسی چیزی می‌رسد؟",
        "groups": "نسخه‌های یک پیام با هم می‌آیند. چه کسانی با هم می‌گیرند؟",
        "presence": "کسی برمی‌گردد: چه کسی بود که پیش‌تر رفت؟ و هر بار که نام مستعاری نوشت، چه کسانی حاضر بودند؟",
        "ip": "کنار یک پیام نشانی چه کسی نوشته شده است؟",
        "infiltrator": "پیامی در گروه پیدا می‌شود. کدام خط همین حالا چیزی فرستاد؟",
        "sizes": "اعلامیه‌ای ۴۰۰۰ بایت دارد. کدام ثبت‌ها به همین اندازه‌اند؟",
        "puppets": "بیشتر اهل یک سطل از گردانندهٔ سرورند. بقیه چه کسانی‌اند؟",
        "content": "هزار متن که هرگز گفته نشده بود: جایی یافت می‌شوند؟",
        "plaintext": "آری، یا نه و دیگر نپرس: کدام بود؟ ۰٫۵ یعنی شیر یا خط.",
        "identifiers": "یک ستون چند بیت از یک شخص را در خود دارد؟",
        "device": "گاوصندوق باز است. آنچه ناپدید شده هنوز هست؟",
        "unsealed-answer": "واسطه با شمارهٔ درخواستی مُهرشده چیز دیگری می‌پرسد. آیا پاسخ را می‌خواند؟",
        "metadata": "پنجاه عکس می‌گویند کجا گرفته شده‌اند. پس از فرستادن هم می‌گویند؟",
        "lure": "آشنایی پرونده‌هایی می‌فرستد که در رله‌های دلخواه اوست. آیا برنامه خودبه‌خود به آن‌ها وصل می‌شود؟",
        "picture-or-text": "چیزی به سطل می‌رسد. آیا خبر از پرونده‌ای می‌دهد؟ ۰٫۵ یعنی شیر یا خط.",
        "files-line": "از خطی چیزی به این اندازه فرستاده شد. کدام خط همین حالا همین اندازه گرفت؟",
        "files-ledger": "اندازهٔ اعلامیه‌ای معلوم است. کدام پروندهٔ آن روز است؟",
        "deletion": "سرور چیزی را برمی‌دارد. آیا و چه زود فهمیده می‌شود؟",
        "rollback": "سرور دیروز را نشان می‌دهد، یا به دو نفر دو چیز. آیا فهمیده می‌شود؟",
        "substitution": "سرور کلیدی را عوض می‌کند یا عضوی می‌افزاید. آیا پذیرفته می‌شود؟",
        "replay": "سرور تکرار و جابه‌جا می‌کند. آیا چیزی دو بار نشان داده می‌شود؟",
        "copied-vault": "کسی یک بار از گاوصندوق رونوشت برداشت و سرور همه را نگه داشت. از حرف‌های بعدی چه می‌خواند؟",
        "stolen-backup": "کسی پشتیبانی را دزدید و سرور همه را نگه داشت. از حرف‌ها چه می‌خواند؟",
        "backup-truth": "دیسک پشتیبانی را خراب می‌کند. آیا با این همه چیزی از آن بازگردانده می‌شود؟",
        "two-live": "نمایه بازگردانده می‌شود و دستگاه قدیمی هنوز کار می‌کند. آیا با کلیدهای مصرف‌شده حرف می‌زند؟",
        "insider": "عضوی با کلیدهای درست هر چیزی به هر کسی می‌گوید. آیا گروه و حرف‌های دیگران سر جای خود می‌مانند؟",
    },
)
