"""Neutral text and code to put before a question: seeded, varied, and about nothing that the questions ask.

A passage is a few sentences about one place and one person, or a few definitions about one kind of record. Its words
are none that a question of the length bands answers with (a test holds that), and there are no digits in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

Pieces = Iterator[str]
"""Sentences or definitions that follow one another; each but the first begins with what separates it."""

PEOPLE = (
    "Elena",
    "Marta",
    "Ruben",
    "Ivo",
    "Clara",
    "Hugo",
    "Nadia",
    "Otto",
    "Petra",
    "Silas",
    "Vera",
    "Leon",
)
TIMES = ("before noon", "after lunch", "at dusk", "around midday", "every evening", "at the weekend")
MOODS = ("patiently", "quietly", "carefully", "without hurry", "as usual", "with great care")
WEATHERS = ("mild", "windy", "foggy", "rainy", "calm", "cloudy")

TOPICS: Mapping[str, Sequence[str]] = {
    "mill": (
        "The mill above the stream belongs to {who}, who inherited it from an uncle.",
        "Its wooden wheel turns [slowly|steadily|gently] whenever the water is high enough.",
        "Most of the machinery was repaired last autumn, and it still creaks {mood} in the wind.",
        "Visitors come {time} to watch the stones grind barley into coarse flour.",
        "The floor is covered with a fine dust that nobody manages to sweep away completely.",
        "Upstairs there is a narrow loft where sacks are stacked along the [wall|rail|beam].",
        "On {weather} afternoons {who} sits near the entrance and mends a worn leather belt.",
        "The notice beside the steps explains how grain is lifted, dried and sorted.",
        "Neighbours say that the place sounds like a ship when a storm passes over the valley.",
    ),
    "harbour": (
        "Over at the harbour the boats wait for the tide, tied to heavy iron posts.",
        "{who} checks the ropes {mood} and writes each arrival in a thick ledger.",
        "Gulls circle above the nets while the crew [unloads|sorts|stacks] the crates.",
        "The air smells of tar and seaweed, especially {time}.",
        "Along the pier a few stalls sell postcards, shells and knitted gloves.",
        "When it turns {weather}, the ferries stay in port and the cafes fill with sailors.",
        "An engine has been taken apart on the quay, and its parts lie on a canvas sheet.",
        "The lighthouse keeper waves to {who} from the rocky end of the breakwater.",
        "By then the last barge has left its berth and the basin is almost [empty|silent|still].",
    ),
    "library": (
        "The reading room of the library opens {time}, and {who} arranges the shelves.",
        "Long rows of atlases stand beneath the windows, sorted by region and period.",
        "Students lean over their notes {mood} while the radiators hum.",
        "The staircase with its polished rail leads up to the [archive|gallery|balcony].",
        "There, maps and letters are kept in flat drawers away from the daylight.",
        "{who} repairs torn pages with thin paper and a soft brush.",
        "During {weather} weeks far more people than usual borrow novels and travel guides.",
        "Anybody who returns a volume after the deadline pays a modest fine.",
        "The list near the entrance announces the lectures planned for the coming month.",
    ),
    "orchard": (
        "Behind the village lies an orchard that {who} planted with the help of neighbours.",
        "The trees stand in straight rows, and each trunk carries a numbered [tag|label|plate].",
        "In spring the branches are trimmed {mood}, mostly from tall ladders.",
        "Bees from the hives along the fence visit the blossom until the sun sinks.",
        "The shed near the gate shelters baskets, saws and a rusty press.",
        "Whenever the weather is {weather}, the pickers rest there and tell stories.",
        "The harvest is carried to the road {time} and loaded onto a trailer.",
        "{who} keeps a diary about frost, rainfall and the health of every row.",
        "Some of the oldest trees yield hardly anything, yet nobody wants to cut them.",
    ),
    "workshop": (
        "{who} runs a workshop where violins and cellos are restored.",
        "The wood is chosen {mood}, since a single knot can spoil the tone.",
        "Clamps, chisels and jars of varnish fill the [bench|cabinet|shelves] along the wall.",
        "Every cracked neck can take weeks to repair, because the glue has to dry in stages.",
        "Customers usually arrive {time}, and many stay to listen.",
        "On {weather} days the humidity is measured again and again.",
        "An apprentice learns to carve the bridge and to adjust the sound post.",
        "{who} plays a few bars of a slow dance to test the voice of each finished violin.",
        "Afterwards the shavings are swept into a sack and given to a neighbour for kindling.",
    ),
    "station": (
        "At the railway station passengers gather under the glass roof.",
        "{who} announces the departures {mood} and answers questions about connections.",
        "Another freight train rolls past, loaded with timber and [gravel|pipes|tractors].",
        "The waiting room has benches of solid oak and a stove that is lit in winter.",
        "Somebody has forgotten an umbrella near the ticket counter.",
        "Express services stop here only {time}, so the platform is often deserted.",
        "If the forecast is {weather}, the points are inspected by a crew with lanterns.",
        "Children count the wagons and guess where each of them has come from.",
        "Later {who} locks the luggage office and signs the duty roster.",
    ),
    "theatre": (
        "The theatre in the market square rehearses a comedy about a stubborn baron.",
        "{who} designs the costumes and sews many of them {mood}.",
        "Painted panels are lowered from above to suggest a palace or a [forest|street|cellar].",
        "Rehearsals begin {time} and rarely finish before everyone is tired.",
        "The prompter sits in a tiny booth at the edge of the stage.",
        "During a {weather} week the roof leaks, and buckets are placed between the rows.",
        "Lights are tested until every corner has the proper glow.",
        "{who} notes which lines make the audience laugh and which fall flat.",
        "After the premiere the whole company celebrates on the terrace.",
    ),
    "observatory": (
        "On the ridge there is an observatory whose dome was rebuilt by volunteers.",
        "{who} prepares the telescope {mood} as soon as the sky clears.",
        "Distant galaxies appear as faint smudges that need long [exposures|recordings|sessions].",
        "The instruments must be cooled, otherwise noise would hide the signal.",
        "Groups of visitors climb the path {time}, carrying blankets and flasks.",
        "When clouds arrive, lectures about comets and eclipses are given instead.",
        "Even a {weather} evening is useful for cleaning lenses and oiling bearings.",
        "{who} compares the latest plates with those of earlier decades.",
        "Everything that moves between exposures is marked with a pencil and discussed.",
    ),
    "bakery": (
        "The bakery at the corner belongs to {who}, whose grandparents founded it.",
        "Dough is mixed in the cellar {mood}, long before anybody else is awake.",
        "The oven is heated with beech logs, which give a steady warmth.",
        "Trays are pushed in with a long wooden [shovel|paddle|pole].",
        "Regular guests arrive {time} and chat while they queue.",
        "Any {weather} morning brings fewer customers, so less is prepared.",
        "Crumbs that remain are scattered for the sparrows in the yard.",
        "{who} experiments with rye, oats and seeds from nearby farms.",
        "Recipes are kept in a stained notebook under the counter.",
    ),
    "expedition": (
        "An expedition to the glacier has been prepared by {who} since last summer.",
        "Tents, ropes and radios are checked {mood} and packed onto sledges.",
        "The route follows a frozen [stream|ridge|gully] and avoids the steep slopes.",
        "Weather reports come in {time}; the latest promises {weather} conditions.",
        "At each camp the team drills a core and wraps it in foil.",
        "Layers in the ice tell how much dust was in the air in former centuries.",
        "{who} sketches the moraines while the others melt snowflakes for drinking water.",
        "Progress is slow, because hidden cracks have to be probed with poles.",
        "In the evening all samples are listed and stored in a trench.",
    ),
    "museum": (
        "The museum of crafts shows looms, anvils and pottery from the region.",
        "{who} guides groups through the halls {mood}.",
        "The huge loom in the central room is still used for [linen|wool|carpets].",
        "Fragile exhibits are protected by glass and watched by an elderly guard.",
        "Workshops for families take place {time} in the vaulted basement.",
        "If it is {weather}, the courtyard with its forge remains shut.",
        "Every object carries a short note about its origin and purpose.",
        "{who} is planning an exhibition about bells and how they are cast.",
        "Donations pay for the restoration of a carriage that once served a duke.",
    ),
    "meadow": (
        "Beyond the last cottages a meadow slopes towards the marsh.",
        "{who} counts grasshoppers and butterflies there {mood}.",
        "Thin strings divide the ground into squares, and each square is [photographed|sampled|described].",
        "The survey has continued for several summers, always at the same spots.",
        "Herons stand motionless in the reeds {time}.",
        "On {weather} days the insects hide, so the survey is postponed.",
        "Rare orchids grow along the ditch and are fenced against deer.",
        "{who} enters the totals into a chart that hangs in the parish hall.",
        "Slight changes from year to year are discussed with experts from the university.",
    ),
}
"""Topic -> its sentences in order. {who} is one person a passage; {mood}, {time}, {weather} and [a|b|c] vary."""

RECORDS = (
    "parcel",
    "invoice",
    "ticket",
    "sensor",
    "account",
    "shipment",
    "customer",
    "message",
    "booking",
    "survey",
)
FLAGS = ("active", "urgent", "visible", "archived", "pending", "verified", "delayed", "complete")
FIELDS = ("total", "status", "owner", "region", "weight", "priority", "comment", "duration")

DEFINITIONS = (
    "# Everything about the {r} records.",
    '{r}_status = "{flag}"',
    "{r}_queue = []",
    '{r}_folder = "archive/{r}"',
    "# Each {r} belongs to a region.",
    "def count_{flag}_{r}s({r}s):\n    return sum({r}.{flag} for {r} in {r}s)",
    "def select_{flag}_{r}s({r}s):\n    return [{r} for {r} in {r}s if {r}.{flag}]",
    "def group_{r}s_by_{field}({r}s):\n    groups = {{}}\n    for {r} in {r}s:\n"
    "        groups.setdefault({r}.{field}, []).append({r})\n    return groups",
    'def describe_{r}({r}):\n    label = str({r}.{field})\n    return "{r}: " + label',
    "def reverse_{r}s({r}s):\n    return list(reversed({r}s))",
    "class {R}Store:\n    def __init__(self):\n        self.{r}s = []\n\n    def add(self, {r}):\n"
    "        self.{r}s.append({r})",
    "def find_{r}({r}s, {field}):\n    for {r} in {r}s:\n        if {r}.{field} == {field}:\n"
    "            return {r}\n    raise LookupError({field})",
    "def merge_{r}s(first, second):\n    merged = list(first)\n    for {r} in second:\n"
    "        if {r} not in merged:\n            merged.append({r})\n    return merged",
    "def save_{r}s({r}s, stream):\n    for {r} in {r}s:\n        stream.write(str({r}.{field}))",
)
"""Python about a record {r} ({R}: as a class) with a {flag} and a {field}; nothing of it runs anything."""


def prose(rng: np.random.Generator) -> Pieces:
    """Passages on the topics in a random order, a paragraph each: about 1,300 words, no sentence twice."""
    lines = [*TOPICS.values()]
    names = rng.permutation(PEOPLE)
    for place, index in enumerate(rng.permutation(len(lines))):
        for nth, line in enumerate(lines[int(index)]):
            sentence = _filled(line, str(names[place]), rng)
            yield sentence if not place + nth else f" {sentence}" if nth else f"\n{sentence}"


_CHOICE = re.compile(r"\{(\w+)\}|\[(.*?)\]")
_FILLS = {"mood": MOODS, "time": TIMES, "weather": WEATHERS}


def _filled(line: str, who: str, rng: np.random.Generator) -> str:
    def fill(found: re.Match[str]) -> str:
        if found[1] == "who":
            return who
        options: tuple[str, ...] = _FILLS[found[1]] if found[1] else tuple(found[2].split("|"))
        return options[int(rng.integers(len(options)))]

    return _CHOICE.sub(fill, line)


def code(rng: np.random.Generator) -> Pieces:
    """Python definitions about the records in a random order, each kind once a record: about 1,200 words."""
    for place, record in enumerate(rng.permutation(RECORDS)):
        for nth, index in enumerate(rng.permutation(len(DEFINITIONS))):
            flag, field = (options[int(rng.integers(len(options)))] for options in (FLAGS, FIELDS))
            definition = DEFINITIONS[int(index)].format(
                r=record, R=str(record).capitalize(), flag=flag, field=field
            )
            yield f"\n\n{definition}" if place + nth else definition


CONTENT = {
    "people": PEOPLE,
    "times": TIMES,
    "moods": MOODS,
    "weathers": WEATHERS,
    "topics": TOPICS,
    "records": RECORDS,
    "flags": FLAGS,
    "fields": FIELDS,
    "definitions": DEFINITIONS,
}
"""All of the above: what a suite's digest has to cover."""
