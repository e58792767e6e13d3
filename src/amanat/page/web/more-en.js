/** The words of English that a page seldom needs. Every language has them in a file like this. */

export const words = {
  links: "Links",
  linksEmpty: "There is no link in this conversation.",
  // Chats of other messengers
  imports: "Chats from Telegram and WhatsApp",
  importsHint:
    "They rest encrypted on this machine, apart from your conversations. Nothing of them leaves this machine. Names and words are as the export says: nobody has signed them.",
  importBegin: "Bring chats along",
  importNone: "You have not brought any chats along yet.",
  importHow:
    "In Telegram Desktop choose {all} or, in one chat, {one}, and the format JSON, which holds more than HTML. In WhatsApp choose {whatsapp}. Then choose the export here; it stays where it is.",
  importFound: "In your downloads",
  importPath: "Place of the export: its folder, file or ZIP archive",
  importLook: "Look into it",
  importLooks: "The export is being read. Nothing is changed.",
  importGoes: "Chats are being brought along.",
  importStop: "Stop",
  importStopped: "Stopped. What came so far is here; begin again, and it goes on from there.",
  importWhat: "What is in it",
  importPick: "Chats to bring along",
  importCountOne: "One message",
  importCountOther: "{n} messages",
  importSpan: "{from} to {to}",
  importFilesOne: "One file stays behind",
  importFilesOther: "{n} files stay behind",
  importLeft: "What is not taken",
  leftBrokenOne: "One message cannot be read.",
  leftBrokenOther: "{n} messages cannot be read.",
  leftUnknownOne: "One message is of a kind that this program does not know.",
  leftUnknownOther: "{n} messages are of kinds that this program does not know.",
  leftUnsupportedOne: "Telegram itself has left one message out.",
  leftUnsupportedOther: "Telegram itself has left {n} messages out.",
  leftContacts: "Contacts, sessions and files stay in the export.",
  importCut: "The file ends in the middle of {chat}. Everything before that comes.",
  importMe: "Your own name in it",
  importMeHint: "What this name says stands on your side. It may stay empty.",
  importZone: "Time zone of its times, such as Asia/Tehran",
  importZoneHint: "The export does not say it. Empty, it is that of this machine.",
  importDates: "How its dates are written",
  importDatesHint: "Nothing in this chat shows it. How does 3/4 read?",
  dayFirst: "The third of April",
  monthFirst: "The fourth of March",
  importNow: "Bring them along",
  importDoneOne: "One message is here now.",
  importDoneOther: "{n} messages are here now.",
  unverified: "Brought along from {app}. Nobody has verified its names and words.",
  goesOnFrom: "It goes on from a chat that is here, too.",
  importSearch: "Search in what you brought along",
  importDelete: "Delete this chat",
  importDeleteAll: "Delete all chats that you brought along",
  importDeleteWhat:
    "They go from here, and no word of them stays. The export on your disk stays as it is.",
  importOlder: "Older messages",
  importNewer: "Newer messages",
  importForwarded: "from {who}",
  // Backups
  backups: "Backups",
  backupsNone:
    "No backups are made. If the disk of this machine breaks, everything you have here is gone.",
  backupsMore: "Backups and recovery phrase",
  backupWhat:
    "A backup holds your messages, files, contacts and groups. It is encrypted, and opens with a recovery phrase of 24 words and with nothing else.",
  backupFolder: "Folder for backups: its whole path on this machine",
  backupFolderHint:
    "Choose one on another disk, which does not break or go away together with this machine.",
  backupBegin: "Make a backup every day",
  backupEvery: "A backup is made every day while Amanat runs, in {folder}.",
  backupLast: "The last good one: {when}. It was read back from the disk and restored for a trial.",
  backupNever: "None has been made yet.",
  backupFailed: "The newest attempt failed.",
  backupLate: "The last good backup is more than three days old. Back up now.",
  backupNow: "Back up now",
  backupMade: "The backup is made. It was read back from the disk and restored for a trial.",
  backupWithoutOne: "One file is without its content, which is damaged here.",
  backupWithoutOther: "{n} files are without their content, which is damaged here.",
  backupFiles: "Files are being copied.",
  backupWrites: "Messages are being written.",
  backupChecks: "The backup is being restored for a trial.",
  backupRestores: "Everything is being brought back.",
  backupCheck: "Check a backup",
  backupCheckWhat:
    "The backup is read from the disk and restored for a trial. Nothing changes. In a folder, the newest one is checked.",
  backupPlace: "A backup, or the folder of your backups: its whole path",
  backupCheckNow: "Check",
  backupWhole: "It is whole: {messages}, of {when}.",
  backupUnknownOne: "One record is of a newer version.",
  backupUnknownOther: "{n} records are of a newer version.",
  backupOther: "Another folder",
  backupOtherWhat: "The backups in the old folder stay there, and open with the same phrase.",
  backupForget: "Forget old backups",
  backupForgetHint:
    "A backup still holds what you deleted after it was made. Amanat keeps at most seven daily, four weekly and twelve monthly backups.",
  backupStop: "Stop making backups",
  backupStopWhat: "The existing backups stay in their folder, and open with their phrase.",
  // The recovery phrase
  phrase: "Recovery phrase",
  phraseComes: "Take a pen and paper",
  phraseComesWhat:
    "You will see 24 words that open your backups. They are shown this once. See that nobody looks over your shoulder.",
  phraseShow: "Show the words",
  phraseWhat:
    "Write these words down in their order. Nothing shows them again, and without them no backup opens. Somebody who has them and a backup can read everything in it and become you. The number beside a word says the same in any script.",
  phraseWritten: "I have written them down",
  phraseHidden: "The words were hidden while you were elsewhere.",
  phraseAsk: "Look at your paper: which words stand at these places?",
  phraseWord: "Word {n}, or its number",
  phraseGive: "Look at your paper",
  phraseGiven: "Compare",
  phraseNoted:
    "These are the words. Keep the paper where you will find it, and away from your backups.",
  phraseAsked: "Show that you have written down the recovery phrase.",
  phraseAskedAgain: "A week has passed. Do you still have the paper with your recovery phrase?",
  phraseNew: "Make a new phrase",
  phraseNewWhat:
    "Later backups open with the new phrase alone, and earlier ones with the old one alone.",
  // Restoring a profile
  restoreHelp:
    "Your messages come back from the newest backup, and open with your recovery phrase.",
  restoreOut:
    "Do this only if your old device is gone. It will be locked out, for this one takes its place. Your conversations come back once somebody in each is online and lets this device in.",
  restorePhrase: "Recovery phrase: its 24 words, or their numbers",
  restoreCount: "{n} of {all} words",
  restoreSecret: "The passphrase is for this device, and may be a new one.",
  restoreNow: "Restore",
  restoreNot: "Begin without a backup",
  restored: "You are back",
  restoredWhat:
    "Everything said up to the backup is here. A backup goes on being made every day in the same folder.",
  restoredOut:
    "Your old device is locked out of each conversation as soon as this one is let in. Do not use it again.",
  restoredHomeless:
    "Your home cannot be reached. If it was lost with your old device, move to another home, in the settings under Home. Your contacts cannot answer you at the old one: let each of them leave the old conversation and send you an invite.",
  restoredWaitOne:
    "One conversation waits for somebody in it to let this device in. Stay online; what you write meanwhile leaves then.",
  restoredWaitOther:
    "{n} conversations wait for somebody in them to let this device in. Stay online; what you write meanwhile leaves then.",
  // The camera
  camera: "A picture by the camera",
  takePicture: "Take the picture",
  takeAnother: "Take another",
};

/** What stands beside the words of an imported message, by its kind. */
export const kinds = {
  photo: "Picture",
  sticker: "Sticker",
  voice: "Voice note",
  video: "Video",
  animation: "Animation",
  audio: "Sound",
  file: "File",
  poll: "Poll",
  place: "Place",
  contact: "Contact",
  other: "Something else",
};

/** What happened in an imported chat, by what its program calls it. */
export const events = {
  create_group: "{who} created the group {what}",
  create_channel: "{who} created {what}",
  edit_group_title: "{who} renamed it to {what}",
  edit_group_photo: "{who} changed its picture",
  delete_group_photo: "{who} removed its picture",
  invite_members: "{who} added {what}",
  remove_members: "{who} removed {what}",
  join_group_by_link: "{who} joined by a link",
  join_group_by_request: "{who} joined on request",
  pin_message: "{who} pinned a message",
  phone_call: "{who} called",
  migrate_to_supergroup: "{who} made it a supergroup",
  migrate_from_group: "{who} made it from the group {what}",
  topic_created: "{who} began the topic {what}",
  topic_edit: "{who} changed the topic {what}",
};

/** What is said when something could not be done, by the code of the error. */
export const faults = {
  "not-an-export":
    "There is no export at this place. Give the folder or the file of an export of Telegram Desktop or WhatsApp.",
  "newer-export":
    "This export is newer than this program. Update Amanat; nothing was brought along.",
  "broken-export": "This export is broken. Make it again; what came before stays.",
  "export-unfinished":
    "Another program is still writing this export. Wait until it has ended, and try again.",
  "open-dates": "Nothing in this chat shows how its dates are written. Look into it again.",
  "no-chat-chosen": "You have chosen no chat.",
  "folder-away":
    "The folder is not there. Plug in the disk that it is on, or give the whole path of another one.",
  "no-backup": "There is no backup in this folder. Give the folder in which your backups are made.",
  "broken-archive":
    "This backup is damaged, and nothing of it was taken. Choose an earlier one in the same folder.",
  "newer-archive":
    "This backup is of a newer version of Amanat. Update Amanat; nothing was changed.",
  "wrong-phrase":
    "This phrase opens no backup here. The backups may be somebody else's, or of another phrase of yours.",
  "word-count": "A recovery phrase has 24 words, and you have typed {n}.",
  "unknown-word":
    "Word {n} is none of a recovery phrase. Its first four letters are enough, or its number from 1 to 2048.",
  "phrase-slip":
    "A word is wrong, or two stand in each other's place. Compare each with your paper.",
  "other-word": "Word {n} is another one. Look at your paper; if it is lost, make a new phrase.",
  "profile-replaced": "Your profile was restored elsewhere, and makes its backups there.",
  "unknown-import": "This chat is no longer here.",
};
