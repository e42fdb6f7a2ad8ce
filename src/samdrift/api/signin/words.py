"""What people read while they sign in, in Danish and English. One word per thing in each language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Language = Literal["da", "en"]
LANGUAGES: tuple[Language, ...] = ("da", "en")

_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Log ind", "Sign in"),
    "with": ("Log ind med {name}", "Sign in with {name}"),
    "own_account": ("Lokal konto", "Local account"),
    "login": ("Brugernavn", "User name"),
    "password": ("Adgangskode", "Password"),
    "sign_in": ("Log ind", "Sign in"),
    "passkey": ("Log ind med adgangsnøgle", "Sign in with a passkey"),
    "nobody": (
        "Ingen kan logge ind endnu: dokumentet siger ikke, hvor fællesskabet findes (signin.url).",
        "Nobody can sign in yet: the document does not say where this community is (signin.url).",
    ),
    "no_way": (
        "Her er ingen måde at logge ind på: dokumentet har ingen logins og tillader ingen lokale konti.",
        "There is no way to sign in here: the document has no logins and allows no local accounts.",
    ),
    "second_title": ("Bekræft, at det er dig", "Show that it is you"),
    "second_text": (
        "Skriv koden fra din app, eller en af dine gendannelseskoder.",
        "Type the code from your app, or one of your recovery codes.",
    ),
    "second_passkey": (
        "Vis din adgangsnøgle, eller skriv en af dine gendannelseskoder.",
        "Show your passkey, or type one of your recovery codes.",
    ),
    "code": ("Kode", "Code"),
    "confirm": ("Bekræft", "Confirm"),
    "use_passkey": ("Brug adgangsnøgle", "Use a passkey"),
    "enrol_title": ("Sæt dit andet trin op", "Set up your second step"),
    "enrol_text": (
        "Din rolle kræver mere end en adgangskode. Vælg en adgangsnøgle eller en app med engangskoder.",
        "Your role demands more than a password. Choose a passkey or an app with one-time codes.",
    ),
    "enrol_more": ("Tilføj en adgangsnøgle eller en app med engangskoder.", "Add a passkey or an app with one-time codes."),
    "make_passkey": ("Lav en adgangsnøgle", "Make a passkey"),
    "passkey_name": ("Hvad skal den hedde?", "What shall it be called?"),
    "app": ("App med engangskoder", "App with one-time codes"),
    "app_text": (
        "Scan billedet med din app, og skriv så den kode, den viser.",
        "Scan the picture with your app, then type the code that it shows.",
    ),
    "qr": ("QR-kode med nøglen herunder", "QR code of the key below"),
    "app_typed": ("Eller skriv denne nøgle ind i appen:", "Or type this key into the app:"),
    "open_app": ("Åbn app på denne enhed", "Open the app on this device"),
    "welcome_title": ("Velkommen", "Welcome"),
    "welcome_text": ("Vælg en adgangskode på mindst 12 tegn.", "Choose a password of at least 12 characters."),
    "secret": ("Hemmelighed: det, der står efter # i din invitation", "Secret: what stands behind the # of your invitation"),
    "new_password": ("Ny adgangskode", "New password"),
    "old_password": ("Nuværende adgangskode", "Current password"),
    "go_on": ("Fortsæt", "Go on"),
    "account_title": ("Din konto", "Your account"),
    "roles": ("Roller", "Roles"),
    "of": ("{role} for {organisation}", "{role} of {organisation}"),
    "all": ("hele fællesskabet", "the whole community"),
    "operator": ("driftsansvarlig", "platform operator"),
    "auditor": ("revisor", "auditor"),
    "administrator": ("administrator", "administrator"),
    "developer": ("udvikler", "developer"),
    "finance": ("økonomi", "finance"),
    "viewer": ("læser", "viewer"),
    "factors": ("Andet trin", "Second step"),
    "no_factors": ("Du har intet andet trin.", "You have no second step."),
    "totp": ("App med engangskoder", "App with one-time codes"),
    "passkey_one": ("Adgangsnøgle", "Passkey"),
    "remove": ("Fjern", "Remove"),
    "add": ("Tilføj", "Add"),
    "recovery": ("Gendannelseskoder", "Recovery codes"),
    "recovery_left": (
        "{count} tilbage. Hver virker én gang, hvis du mister dit andet trin.",
        "{count} left. Each works once, if you lose your second step.",
    ),
    "make_recovery": ("Lav nye gendannelseskoder", "Make new recovery codes"),
    "recovery_text": (
        "Skriv dem ned nu: de vises ikke igen. Tidligere koder virker ikke mere.",
        "Write them down now: they are not shown again. Earlier codes no longer work.",
    ),
    "back": ("Tilbage til din konto", "Back to your account"),
    "change_password": ("Skift adgangskode", "Change password"),
    "sessions": ("Hvor du er logget ind", "Where you are signed in"),
    "this_one": ("her", "here"),
    "since": ("siden {at}", "since {at}"),
    "end": ("Log ud der", "Sign out there"),
    "end_others": ("Log ud alle andre steder", "Sign out everywhere else"),
    "sign_out": ("Log ud", "Sign out"),
    "sign_in_again": ("Log ind igen for at ændre, hvordan du logger ind.", "Sign in again to change how you sign in."),
    "again": ("Prøv igen", "Try again"),
    "to_signin": ("Gå til log ind", "Go to sign-in"),
    "language": ("Sprog", "Language"),
    "problem": ("Fejl: {title}", "Problem: {title}"),
    "wrong": ("Det er ikke rigtigt. Prøv igen.", "That is not right. Try again."),
    "wrong_password": ("Brugernavnet eller adgangskoden er ikke rigtig.", "The user name or the password is not right."),
    "wrong_old_password": ("Den nuværende adgangskode er ikke rigtig.", "The current password is not right."),
    "wrong_code": (
        "Koden er ikke rigtig, eller den er brugt. Skriv den næste, din app viser.",
        "The code is not right, or was used already. Type the next one that your app shows.",
    ),
    "wrong_new_code": (
        "Det er ikke den kode, appen skulle vise. Scan billedet igen, og se efter, om enhedens ur går rigtigt.",
        "This is not the code that the app should show. Scan the picture again, and see whether the device's clock is right.",
    ),
    "wrong_invitation": (
        "Invitationen gælder ikke, eller ikke mere. Bed om en ny.",
        "The invitation is not good, or not any more. Ask for a new one.",
    ),
    "wait": (
        "Der har været for mange forsøg. Prøv igen om {seconds} s.",
        "There were too many attempts. Try again in {seconds} s.",
    ),
    "busy": ("Der logger for mange ind lige nu. Prøv igen om lidt.", "Too many sign in at this moment. Try again shortly."),
    "short": ("Adgangskoden er for kort: skriv mindst 12 tegn.", "The password is too short: write at least 12 characters."),
    "long": ("Adgangskoden er for lang: skriv højst 256 tegn.", "The password is too long: write at most 256 characters."),
    "plain": ("Adgangskoden er for let at gætte: vælg en anden.", "The password is too easy to guess: choose another."),
    "no_role": (
        "Du er, hvem du siger, men har ingen rolle her. Spørg din organisations administrator.",
        "You are who you say, but hold no role here. Ask your organisation's administrator.",
    ),
    "stale": (
        "Siden har stået åben for længe, eller den kom fra et andet sted. Prøv igen.",
        "This page was open for too long, or it came from somewhere else. Try again.",
    ),
    "unreadable": (
        "Det, din browser sendte, kan ikke læses. Begynd forfra.",
        "What your browser sent cannot be read. Begin again.",
    ),
    "away": ("Dit login svarer ikke. Prøv igen om lidt.", "Your login does not answer. Try again shortly."),
    "denied": ("Dit login lukkede dig ikke ind.", "Your login did not let you in."),
    "failed": ("Dit login svarede noget, vi ikke kan stole på. Sig det til den, der driver fællesskabet.",
        "Your login said something that cannot be trusted. Tell whoever runs this community."),
    "weak": ("Din rolle kræver, at du logger ind med mere end en adgangskode. Slå det til i dit eget login.",
        "Your role demands that you sign in with more than a password. Turn that on at your own login."),
    "unasked": (
        "Det login blev ikke begyndt i denne browser. Begynd forfra.",
        "That sign-in was not begun in this browser. Begin again.",
    ),
    "unknown": ("Det login findes ikke her.", "There is no such login here."),
    "unavailable": ("Vi kan ikke slå dig op lige nu. Prøv igen om lidt.", "We cannot look you up right now. Try again shortly."),
    "last_factor": (
        "Din rolle kræver et andet trin. Tilføj et nyt, før du fjerner det sidste.",
        "Your role demands a second step. Add a new one before you remove the last.",
    ),
    "too_many_factors": ("Du har for mange. Fjern en først.", "You have too many. Remove one first."),
    "not_found": ("Siden findes ikke.", "There is no such page."),
    "no_script": ("Adgangsnøgler kræver JavaScript.", "Passkeys need JavaScript."),
    "no_passkey": ("Din browser gav ingen adgangsnøgle.", "Your browser gave no passkey."),
    "other": ("English", "Dansk"),
}  # fmt: skip


class Words:
    """The words of one language."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def __call__(self, name: str, /, **places: object) -> str:
        """A sentence, with its places filled."""
        return _WORDS[name][LANGUAGES.index(self.language)].format_map({k: str(v) for k, v in places.items()})


def language_of(headers: Mapping[str, str], chosen: str | None) -> Language:
    """The language that somebody chose here, else the one that their browser asks for first of those there are, else Danish."""
    for language in LANGUAGES:
        if chosen == language:
            return language
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(headers.get("accept-language", "")[:500].split(",")):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            continue
        wanted.append((-weight, place, tag[:2].lower()))
    for _, _, tag in sorted(wanted):
        for language in LANGUAGES:
            if tag == language:
                return language
    return "da"
