"""What people are called and what they write: everything drawn from a seed, so that nothing has to be stored.

A Page with 100,000 threads has to be there in an instant. Nothing is therefore made in advance: a name, a text or an
attachment is a function of (seed, who, which), drawn from one hash, and comes out the same whenever it is asked for.
"""

from __future__ import annotations

import hashlib
from typing import Any

LINE_SEPARATOR = "\u2028"
PARAGRAPH_SEPARATOR = "\u2029"
NEXT_LINE = "\u0085"

_blake2b = hashlib.blake2b

# One name each: (given, family, what an own mailbox of that person may look like).
_GIVEN = (
    "María José", "Núria", "Iñaki", "Zoë", "Jürgen", "Søren", "Łukasz", "Đorđe", "Ağça", "Ștefania",
    "محمد", "فاطمة", "עידו", "अनुष्का", "さくら", "伟", "민준", "Nguyễn", "Ольга", "Ἀλέξης",
    "O'Neil", "Anna-Lena", "Zu\u0308rich", "e\u0301lodie", "Kevin 🔥", "👩🏽‍🚀 Mae", "John", "Emily", "Siân", "Þóra",
)  # fmt: skip
_FAMILY = (
    "García Márquez", "Peña", "Etxeberria", "Brontë", "Müller-Lüdenscheidt", "Kierkegård", "Wałęsa", "Đoković", "Çelik",
    "Țepeș", "الأحمد", "بن علي", "כהן", "शर्मा", "田中", "王", "김", "Thị Ánh", "Достоевская", "Παπαδόπουλος",
    'the "Duke"', "D’Angelo", "A\u030angstro\u0308m", "Smith", "van der Berg", "𝔅𝔩𝔞𝔠𝔨", "Jr.", "Ó Súilleabháin",
)  # fmt: skip
_MAIL = ("correo.example", "mail.example", "büro.example", "post.example", "例え.example")

_PHRASES = (
    "Hola, ¿siguen teniendo la talla M en color azul marino?",
    "¿Cuánto tarda el envío a Canarias? 📦",
    "Gracias, ¡llegó todo perfecto! 🎉🎉",
    "مرحبا، هل المتجر مفتوح يوم الجمعة؟",
    "您好，请问这个还有货吗？",
    "すみません、返品はできますか？",
    "안녕하세요, 배송 조회 부탁드려요",
    "Guten Tag, die Rechnung fehlt noch. Grüße",
    "नमस्ते, क्या कीमत कम हो सकती है?",
    "Доброго дня! Коли буде знижка?",
    "שלום, אפשר לבטל את ההזמנה?",
    "Hi there, my parcel says \"delivered\" but it's not here :(",
    "ok",
    "👍🏿",
    "👨‍👩‍👧‍👦🏳️‍🌈 nos vemos el sábado",
    "Le code promo n’a pas marché… voici ce que j’ai tapé : {\"code\": \"ÉTÉ\"}",
    "C:\\Users\\ana\\factura.pdf no se abre",
    "cafe\u0301 o te\u0301? Los dos con tilde puesta aparte",
    "𝓣𝓱𝓪𝓷𝓴 𝔂𝓸𝓾 so much 𠜎",
    "<b>no es HTML</b> & tampoco un 'comando'; DROP TABLE pedidos; --",
    "https://example.com/p?id=1&t=a%20b#c",
    "=SUM(A1:A3)",
    "  espacios delante y detrás  ",
    "\ttabulador y retroceso\b",
)  # fmt: skip

# What breaks readers that believe a line is what str.splitlines() says, or that a text holds no control characters.
_TWISTS = (
    LINE_SEPARATOR, PARAGRAPH_SEPARATOR, NEXT_LINE, "\n", "\r\n", "\x00", "\x1e", "\x0b", "\u200f", "\ufeff",
    "\\u2028", "😀",
)  # fmt: skip


def draw(*what: object) -> int:
    """Return 128 bits that belong to `what` and to nothing else; the same in every process."""
    return int.from_bytes(_blake2b(repr(what).encode(), digest_size=16).digest(), "big")


def person_name(seed: int, who: int) -> str:
    """Return the name that this person goes by on Facebook."""
    bits = draw(seed, "name", who)
    return f"{_GIVEN[bits % len(_GIVEN)]} {_FAMILY[(bits >> 16) % len(_FAMILY)]}"


def person_email(seed: int, who: int, scoped_id: str) -> str:
    """Return what Meta puts into `email`: mostly the scoped id at facebook.com, now and then a real address."""
    bits = draw(seed, "mail", who)
    if bits % 4:
        return f"{scoped_id}@facebook.com"
    return f"buzón.{bits >> 104:x}+{who}@{_MAIL[(bits >> 8) % len(_MAIL)]}"


def person_username(seed: int, who: int) -> str:
    """Return a user name as Instagram allows it: ASCII letters, digits, dots and underscores."""
    bits = draw(seed, "username", who)
    return f"{('luz', 'el.mar', 'kaffee_', 'x__x', 'nina')[bits % 5]}{bits >> 96:x}"


def text_for(bits: int, tag: str) -> str:
    """Return a message text; `tag` makes it one of a kind, so that a leaked text can be traced to its message."""
    phrase = _PHRASES[bits % len(_PHRASES)]
    twist = (bits >> 16) % 40
    if twist < len(_TWISTS):
        middle = len(phrase) // 2
        phrase = phrase[:middle] + _TWISTS[twist] + phrase[middle:]
    return f"{phrase} ({tag})"


def attachment(bits: int, number: int) -> dict[str, Any]:
    """Return one attachment as a full node of the `attachments` edge."""
    kind = (bits + number) % 4
    ident = str(10**15 + (bits + number * 7919) % (9 * 10**15))
    address = f"https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id={ident}&signature={bits >> 64:x}"
    if ((bits >> 40) + number) % 12 == 0:
        return {
            "id": ident,
            "type": "appointment_booking",
            "title": f"Cita nº {number}: prueba de hormas",
            "url": f"https://example.com/cita/{ident}",
        }
    if kind == 0:
        return {
            "id": ident,
            "name": f"foto-{number}-ñ.jpg",
            "mime_type": "image/jpeg",
            "size": 10_000 + bits % 900_000,
            "image_data": {
                "width": 640, "height": 480, "max_width": 2048, "max_height": 2048, "url": address,
                "preview_url": address + "&preview=1", "image_type": 1, "render_as_sticker": False,
            },
        }  # fmt: skip
    if kind == 1:
        return {
            "id": ident,
            "name": f"video-{number}.mp4",
            "mime_type": "video/mp4",
            "size": 1_000_000 + bits % 9_000_000,
            "video_data": {"width": 720, "height": 1280, "length": 7, "video_type": 2, "url": address, "rotation": 0},
        }
    if kind == 2:
        return {
            "id": ident,
            "name": f"factura {number} – “copia”.pdf",
            "mime_type": "application/pdf",
            "size": 2_000 + bits % 90_000,
            "file_url": address,
        }
    return {
        "id": ident,
        "generic_template": {
            "title": f"Pedido nº {number}",
            "subtitle": "Gracias\nVuelva pronto",
            "media_url": address,
            "cta": {"title": "Ver", "type": "url", "url": f"https://example.com/pedido/{number}"},
        },
    }


def sticker(bits: int) -> dict[str, Any]:
    """Return a sticker as an attachment, which it has been since 2026-08-30."""
    ident = str(10**15 + bits % (9 * 10**15))
    return {"id": ident, "type": "sticker", "url": f"https://scontent.xx.fbcdn.net/v/t39.1997-6/{ident}"}


def share(bits: int) -> dict[str, Any]:
    """Return one row of the `shares` edge: a link, a template or a sticker made by a machine."""
    ident = str(bits % 10**15)
    kind = (bits >> 50) % 4
    if kind == 0:
        return {
            "id": ident,
            "type": "template",
            "title": "Su pedido está en camino 🚚",
            "template": {"text": "Seguir el envío", "buttons": {"data": [{"type": "web_url", "title": "Ver"}]}},
        }
    if kind == 1:
        return {"id": ident, "type": "ai_sticker", "url": f"https://lookaside.fbsbx.com/ai_sticker/{ident}"}
    return {
        "id": ident,
        "link": f"https://example.com/producto/{bits % 999}?a=1&b=ñ",
        "name": "Zapatillas “Ñandú”",
        "description": "Edición limitada\u2028solo hoy",
    }


def shared_post(bits: int) -> dict[str, Any]:
    """Return one row of the `shares` edge of Instagram: a post or a reel, by its link."""
    ident = str(bits % 10**15)
    place = "reel" if (bits >> 50) % 3 == 0 else "p"
    return {"id": ident, "link": f"https://www.instagram.com/{place}/{bits >> 90:x}/?id={ident}&ñ=1"}
