"""Histories that other messengers have exported, read as records. Nothing here writes, and nothing
leaves the machine.

A reader (`telegram`, `whatsapp`) takes the bytes of an export as they come and gives records
(`records`), one at a time, in bounded memory. `source` finds and opens the export's file.
"""
