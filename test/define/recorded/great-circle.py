"""Writes great-circle.json beside this file: distances between places in kilometres, from two independent libraries.

Run with geographiclib 2.1 (geodesics on the ellipsoid WGS 84, Karney 2013, accurate to nanometres) and geopy 2.5.0
(great circles by the Vincenty formula on a sphere, whose radius is 6371.009 km there and is scaled to 6371.0088).
Cities stand at 0.01 degrees of their centres. The other pairs: corners, then a seeded draw of starts and ways, short
and long. The lines are then set by the formatter.
"""

import json
import pathlib
import random

import geographiclib
import geopy
from geographiclib.geodesic import Geodesic
from geopy.distance import EARTH_RADIUS, great_circle

RADIUS_KM = 6371.0088

cities = {
    "Auckland": (-36.85, 174.76),
    "London": (51.51, -0.13),
    "New York": (40.71, -74.01),
    "Tokyo": (35.69, 139.69),
    "Singapore": (1.29, 103.85),
    "Quito": (-0.22, -78.51),
    "Reykjavik": (64.15, -21.94),
    "Ushuaia": (-54.80, -68.30),
    "Suva": (-18.14, 178.44),
    "Apia": (-13.83, -171.76),
    "Paris": (48.86, 2.35),
    "Madrid": (40.42, -3.70),
}


def pair(name, a, b):
    geodesic = Geodesic.WGS84.Inverse(a[0], a[1], b[0], b[1])["s12"] / 1000
    sphere = great_circle(a, b).kilometers * RADIUS_KM / EARTH_RADIUS
    return [name, list(a), list(b), geodesic, sphere]


rows = [
    pair(f"{one}-{other}", cities[one], cities[other])
    for index, one in enumerate(cities)
    for other in list(cities)[index + 1 :]
]
rows += [
    pair("north at the equator", (0, 10), (0.01, 10)),
    pair("east at the equator", (0, 10), (0, 10.01)),
    pair("north at the pole", (89.98, 10), (89.99, 10)),
    pair("over the pole", (89.5, 10), (89.5, -170)),
    pair("across the date line", (-17, 179.9), (-17, -179.9)),
    pair("pole to pole", (90, 0), (-90, 0)),
    pair("antipodes", (0, 0), (0, 180)),
    pair("near antipodes", (30, 20), (-29.9, -160.2)),
    pair("a metre", (48.858370, 2.294481), (48.858379, 2.294481)),
    pair("a quarter", (0, 0), (0, 90)),
]
chance = random.Random(20250101)
for index in range(150):
    a = (round(chance.uniform(-90, 90), 4), round(chance.uniform(-180, 180), 4))
    reach = 10 ** chance.uniform(-3, 2)
    b = (
        round(max(-90, min(90, a[0] + chance.uniform(-reach, reach))), 4),
        round(a[1] + chance.uniform(-reach, reach), 4),
    )
    if a != b:
        rows.append(pair(f"random {index}", a, b))

document = {
    "source": f"geographiclib {geographiclib.__version__}, geopy {geopy.__version__}: great-circle.py",
    "columns": ["name", "a", "b", "WGS 84 geodesic, km", "great circle at radius 6371.0088 km, km"],
    "rows": rows,
}
lines = ",\n".join("    " + json.dumps(row) for row in rows)
head = json.dumps({key: document[key] for key in ("source", "columns")}, indent=2)[:-2]
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(f'{head},\n  "rows": [\n{lines}\n  ]\n}}\n', encoding="utf-8")
