"""Writes fastavro.json: values and the bodies that fastavro makes of them, under the schema in every.avsc and under one
of another producer.

    pip install fastavro==1.13.1
    python record.py
"""

import decimal
import io
import json
import math
import pathlib
import random

import fastavro
import fastavro.schema

HERE = pathlib.Path(__file__).parent
OWN = json.loads((HERE / 'every.avsc').read_text())
FOREIGN = {
    'type': 'record',
    'name': 'EveryEvent',
    'namespace': 'com.shop.events',
    'doc': 'What another team writes into the topic.',
    'fields': [
        {'name': 'trace', 'type': {'type': 'map', 'values': ['null', 'string', 'long']}},
        {'name': 'id', 'type': {'type': 'string', 'avro.java.string': 'String'}},
        {'name': 'at', 'type': {'type': 'long', 'logicalType': 'timestamp-micros'}},
        {'name': 's', 'type': ['null', {'type': 'enum', 'name': 'Colour', 'symbols': ['RED', 'GREEN', 'BLUE']}]},
        {'name': 'b', 'type': ['boolean', 'null']},
        {'name': 'i', 'type': 'int'},
        {
            'name': 'origin',
            'type': {
                'type': 'record',
                'name': 'Place',
                'fields': [
                    {'name': 'name', 'type': 'string'},
                    {'name': 'within', 'type': ['null', 'Place'], 'default': None},
                    {'name': 'tags', 'type': {'type': 'array', 'items': 'Colour'}},
                ],
            },
        },
        {'name': 'l', 'type': ['null', 'int', 'long', 'string']},
        {'name': 'd', 'type': ['null', 'float']},
        {
            'name': 'm',
            'type': {'type': 'fixed', 'name': 'Cents', 'size': 9, 'logicalType': 'decimal', 'precision': 18, 'scale': 2},
        },
        {'name': 'z', 'type': ['null', 'long']},
        {'name': 'n', 'type': {'type': 'bytes', 'logicalType': 'decimal', 'precision': 15, 'scale': 4}},
        {'name': 'w', 'type': ['null', 'string']},
        {'name': 'v', 'type': ['null', {'type': 'array', 'items': 'float'}]},
        {'name': 'rs', 'type': 'string'},
        {'name': 'ri', 'type': 'long'},
        {'name': 'rd', 'type': 'double'},
        {'name': 'rb', 'type': 'boolean'},
        {'name': 'digest', 'type': {'type': 'fixed', 'name': 'Digest', 'size': 16}},
        {'name': 'places', 'type': {'type': 'array', 'items': 'Place'}},
    ],
}

chance = random.Random(4)
SAFE = 2**53 - 1
START_MS = 1_700_000_000_000


def text():
    return ''.join(chance.choice('abcXYZ0189 _-é€ß漢🦊\u0000\ufffd"\\') for _ in range(chance.randrange(12)))


def whole(limit):
    if chance.random() < 0.2:
        edges = [0, 1, -1, 63, 64, -64, -65, 2**31, -(2**31), 2**48, -(2**49), limit, -limit]
        return chance.choice([edge for edge in edges if abs(edge) <= limit])
    return chance.randrange(-limit, limit + 1) >> chance.randrange(0, 63)


def double():
    if chance.random() < 0.1:
        return chance.choice([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
    return chance.uniform(-1, 1) * 10 ** chance.randrange(-20, 20)


def scaled(scale, limit=SAFE):
    digits = whole(limit)
    # fastavro writes the least number of a length with one byte more than it takes.
    if digits in [-(2 ** (8 * n - 1)) for n in range(1, 8)]:
        digits += 1
    return decimal.Decimal(digits).scaleb(-scale)


def maybe(value):
    return None if chance.random() < 0.3 else value


def instant():
    return START_MS + chance.randrange(10**12)


def own_values():
    return {
        'id': 'e' + text(),
        'at': instant(),
        's': maybe(text()),
        'b': maybe(chance.random() < 0.5),
        'i': maybe(whole(SAFE)),
        'l': maybe(chance.choice([whole(2**63 - 1), -(2**63), 2**63 - 1, 2**53, -(2**53)])),
        'd': maybe(double()),
        'm': maybe(scaled(2)),
        'z': maybe(scaled(0)),
        'n': maybe(scaled(9)),
        'w': maybe(chance.choice([instant(), -instant()])),
        'v': maybe([chance.uniform(-9, 9) for _ in range(3)]),
        'rs': text(),
        'ri': whole(SAFE),
        'rd': double(),
        'rb': chance.random() < 0.5,
    }


def place(depth):
    inner = place(depth - 1) if depth > 0 and chance.random() < 0.5 else None
    tags = [chance.choice(['RED', 'BLUE']) for _ in range(chance.randrange(3))]
    return {'name': text(), 'within': inner, 'tags': tags}


def single(value):
    """The nearest float of 32 bits."""
    import struct

    return struct.unpack('<f', struct.pack('<f', value))[0]


def foreign_values():
    """What is written, and what the event should hold."""
    event = own_values()
    event['s'] = maybe(chance.choice(['RED', 'GREEN', 'BLUE']))
    event['i'] = whole(2**31 - 1)
    event['d'] = maybe(single(chance.uniform(-1000, 1000)))
    event['m'] = scaled(2)
    event['z'] = maybe(decimal.Decimal(whole(SAFE)))
    event['n'] = scaled(4, 9 * 10**10)
    event['w'] = maybe(instant())
    event['v'] = maybe([single(chance.uniform(-9, 9)) for _ in range(3)])
    written = dict(event)
    written['at'] = event['at'] * 1000 + chance.randrange(1000)
    written['z'] = None if event['z'] is None else int(event['z'])
    written['w'] = None if event['w'] is None else iso(event['w'])
    if isinstance(event['l'], int) and chance.random() < 0.3:
        written['l'] = str(event['l'])
    written['trace'] = {text(): maybe(text()) for _ in range(chance.randrange(3))}
    written['origin'] = place(3)
    written['digest'] = bytes(chance.randrange(256) for _ in range(16))
    written['places'] = [place(1) for _ in range(chance.randrange(3))]
    return written, event


def iso(ms):
    import datetime

    return datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC).strftime('%Y-%m-%dT%H:%M:%S') + f'.{ms % 1000:03}Z'


def shown(value):
    """A value as JSON can carry it: what JSON records may hold for the field."""
    if isinstance(value, float) and not math.isfinite(value):
        return 'NaN' if math.isnan(value) else 'Infinity' if value > 0 else '-Infinity'
    if isinstance(value, decimal.Decimal):
        return format(value, 'f')
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE:
        return str(value)
    return value


def body(schema, values):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, values)
    return out.getvalue().hex()


def row(schema, written, event):
    return {'values': {name: shown(value) for name, value in event.items()}, 'body': body(schema, written)}


own, foreign = fastavro.parse_schema(OWN), fastavro.parse_schema(FOREIGN)
form = fastavro.schema.to_parsing_canonical_form(OWN)
rows = [own_values() for _ in range(120)]
others = [foreign_values() for _ in range(120)]
(HERE / 'fastavro.json').write_text(
    json.dumps(
        {
            'fastavro': fastavro.__version__,
            'canonicalForm': form,
            'fingerprint': fastavro.schema.fingerprint(form, 'SHA-256'),
            'own': [row(own, values, values) for values in rows],
            'foreignSchema': FOREIGN,
            'foreign': [row(foreign, written, event) for written, event in others],
        },
        ensure_ascii=True,
        separators=(',', ':'),
    ).replace('},{"values"', '},\n{"values"')
    + '\n'
)
