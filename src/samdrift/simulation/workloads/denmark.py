"""The members of a country-wide community: Denmark's 98 municipalities with their inhabitants, and its five regions.

Inhabitants are those of about 2024, rounded to hundreds: sizes to simulate with, not statistics.
"""

from __future__ import annotations

from samdrift.spec.size import REFERENCE_INHABITANTS

_HUNDREDS = """
københavn:6598 aarhus:3731 aalborg:2239 odense:2104 vejle:1228 frederiksberg:1053 esbjerg:1160 randers:1000
silkeborg:1008 viborg:975 horsens:990 kolding:955 herning:900 roskilde:922 næstved:840 slagelse:802 gentofte:752
holbæk:743 sønderborg:738 gladsaxe:698 helsingør:643 skanderborg:659 hjørring:632 køge:629 guldborgsund:598
svendborg:595 holstebro:592 lyngby-taarbæk:590 aabenraa:588 høje-taastrup:590 frederikshavn:580 rudersdal:577
ringkøbing-skjern:561 haderslev:551 hillerød:555 hvidovre:536 ballerup:532 fredericia:527 greve:520
faaborg-midtfyn:518 favrskov:499 varde:496 kalundborg:484 hedensted:479 frederikssund:466 vordingborg:455 egedal:454
rødovre:449 skive:443 syddjurs:444 tårnby:431 vejen:427 thisted:427 ikast-brande:425 fredensborg:421 furesø:419
mariagerfjord:417 gribskov:415 assens:407 brøndby:406 middelfart:402 lolland:393 bornholm:391 jammerbugt:378 faxe:376
norddjurs:367 brønderslev:364 tønder:363 ringsted:358 vesthimmerland:358 odsherred:328 halsnæs:318 nyborg:318
rebild:310 herlev:307 sorø:302 nordfyn:298 lejre:294 albertslund:280 billund:272 allerød:263 hørsholm:253 solrød:245
ishøj:242 glostrup:241 odder:238 kerteminde:238 stevns:236 struer:205 morsø:196 lemvig:187 vallensbæk:173 dragør:146
langeland:119 ærø:58 samsø:36 fanø:34 læsø:17
"""
MUNICIPALITIES: dict[str, int] = {
    name: 100 * int(hundreds) for name, hundreds in (entry.split(":") for entry in _HUNDREDS.split())
}
"""Inhabitants by name."""
REGIONS: dict[str, float] = {
    "region-hovedstaden": 19.0, "region-midtjylland": 14.0, "region-syddanmark": 12.0, "region-sjælland": 9.0,
    "region-nordjylland": 6.0,
}  # fmt: skip
"""Weights that a community could write down: a region serves the same inhabitants as its municipalities do, with
fewer desks. A part for about 100 000."""


def weights() -> dict[str, float]:
    """Every member's weight: a part for each 10 000 inhabitants, at least one, as the document's default has it."""
    parts = {name: float(max(1, round(count / REFERENCE_INHABITANTS))) for name, count in MUNICIPALITIES.items()}
    return parts | REGIONS
