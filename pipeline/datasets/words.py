"""Word tables behind concept names and families. Plain English words in the singular, to be read and edited."""

ARTICLES = frozenset("a an the some our your my this that these".split())

# A family is named by a noun; none of these tells one family from another.
PEOPLE = frozenset(
    """man men woman women person people boy girl child adult male female mr mrs mx baby older old young mother father
    grandma grandpa""".split()
)
COLOURS = frozenset(
    """red orange yellow green blue purple violet brown black white grey gray pink light dark silver golden gold
    colourful colorful albino ginger""".split()
)
SIZES = frozenset(
    """small medium medium-small large big little huge tiny long short tall heavy very slightly half quarter full
    double square round flat""".split()
)
NUMBERS = frozenset(
    """one two three four five six seven eight nine ten eleven twelve first second third last 1st 2nd 3rd another
    couple pair""".split()
)
DIRECTIONS = frozenset(
    """left right up down upwards downwards leftwards rightwards left-right up-down up-right up-left down-right
    down-left clockwise counterclockwise upward downward left-facing right-facing front-facing facing oncoming incoming
    outgoing northern southern""".split()
)
STATES = frozenset(
    """open opened closed empty filled hollow lit unlit broken sliced wrapped folded new modern old-fashioned antique
    classic medieval sick happy sad sleeping sitting singing waxing waning crescent rolled-up raised crossed waving
    grinning kissing crying weary pouting roasted cooked baked fried toy model plastic wooden metal rubber european
    american canadian japanese chinese indian swiss german spanish irish australian common wild domestic freshwater
    tropical floppy-eared eared floppy headed covered electric digital mechanical automatic home garden giant dwarf
    spiral playing smiling""".split()
)
GENERIC = ARTICLES | PEOPLE | COLOURS | SIZES | NUMBERS | DIRECTIONS | STATES

# What follows one of these is an attribute of the noun before it.
ENDS_OF_NOUN = frozenset(
    """with without of in on for from by to at into as like than who which is are was were means stands used worn
    showing holding wearing carrying inside under behind after before over between through around covered called making
    carries lets dancing resembles hatched lands ahead where when if you can may must""".split()
)

# "a bunch of grapes" is about grapes, "a house of cards" is not about cards.
CONTAINERS = frozenset(
    """pair couple cluster bunch quarter half cup glass slice head piece tube string plant model sprig set lot box pack
    bowl bottle group picture photo drawing image school herd flock pile stack""".split()
)

# "palm tree" belongs to the palms and to the trees.
CLASS_NOUNS = frozenset("tree flower fruit plant bird fish animal dog cat bear truck car bus boat hat ball".split())

# Wherever one of these stands in a name, the concept belongs to its family.
ANCHORS = frozenset(
    """heart hand clock moon cat dog monkey train arrow mailbox globe book umbrella penguin egg snowman wheelchair
    umbrella medal mountain hair hat kimono guitar candle dreidel balloon gravestone spider flag eye castle lock
    fire""".split()
)

# Where the left one is found, the right one is meant.
SYNONYMS = {
    # animals
    "kitten": "cat", "kitty": "cat", "puppy": "dog", "hound": "dog", "poodle": "dog", "dingo": "dog",
    "bunny": "rabbit", "hare": "rabbit", "lamb": "sheep", "ewe": "sheep", "ram": "sheep", "hen": "chicken",
    "rooster": "chicken", "chick": "chicken", "cock": "chicken", "bull": "cow", "ox": "cow", "calf": "cow",
    "cattle": "cow", "zebu": "cow", "boar": "pig", "hog": "pig", "piglet": "pig", "sow": "pig", "mountaingoat": "goat",
    "pony": "horse", "foal": "horse", "doe": "deer", "stag": "deer", "reindeer": "deer", "caribou": "deer",
    "wapiti": "deer", "elk": "deer", "dromedary": "camel", "drake": "duck", "duckling": "duck", "gander": "goose",
    "peahen": "peacock", "gull": "seagull", "toad": "frog", "tux": "penguin", "rat": "mouse", "rodent": "mouse",
    "chimpanzee": "monkey", "gorilla": "monkey", "orangutan": "monkey", "tamarin": "monkey", "ape": "monkey",
    "snail": "slug", "ladybug": "beetle", "wasp": "bee", "hornet": "bee", "honeybee": "bee", "hoverfly": "bee",
    "orca": "whale", "crab": "lobster", "rhino": "rhinoceros", "hippo": "hippopotamus", "buffalo": "bison",
    "parrot": "parrot", "lorikeet": "parrot", "rosella": "parrot", "gnu": "wildebeest", "xanthia": "butterfly",
    "lizard": "iguana", "spiderweb": "spider", "web": "spider", "paw": "paw", "sauropod": "dinosaur", "rex": "dinosaur",
    # plants and food
    "fir": "tree", "oak": "tree", "pine": "tree", "birch": "tree", "evergreen": "tree", "toadstool": "mushroom",
    "cep": "mushroom", "shamrock": "clover", "tangerine": "orange", "mandarin": "orange", "yam": "potato",
    "corn": "maize", "aubergine": "eggplant", "blossom": "flower", "bouquet": "flower", "tulip": "flower",
    "rose": "flower", "hibiscus": "flower", "daffodil": "flower", "iris": "flower", "marigold": "flower",
    "petunia": "flower", "gazania": "flower", "anemone": "flower", "sunflower": "flower", "rosette": "flower",
    "chile": "pepper", "chilli": "pepper", "prune": "plum", "cupcake": "cake", "pudding": "cake", "shortcake": "cake",
    "sweet": "candy", "lollipop": "candy", "baguette": "bread", "bun": "bread", "loaf": "bread", "bagel": "bread",
    "espresso": "coffee", "mug": "coffee", "eggshell": "egg", "soup": "pot",
    # vehicles
    "automobile": "car", "sedan": "car", "taxi": "car", "cab": "car", "suv": "car", "beetle-car": "car",
    "lorry": "truck", "pickup": "truck", "bulldozer": "tractor", "trolleybus": "bus", "minibus": "bus",
    "bike": "bicycle", "tricycle": "bicycle", "cyclist": "bicycle", "biking": "bicycle", "motorbike": "motorcycle",
    "scooter": "motorcycle", "locomotive": "train", "railway": "train", "rail": "train", "tram": "train",
    "metro": "train", "monorail": "train", "caboose": "train", "boxcar": "train", "carriage": "train",
    "tender": "train", "subway": "train", "tanker": "train", "station": "train", "sailboat": "boat", "ship": "boat",
    "ferry": "boat", "speedboat": "boat", "motorboat": "boat", "tugboat": "boat", "canoe": "boat", "vessel": "boat",
    "shipwreck": "boat", "plane": "airplane", "aeroplane": "airplane", "jet": "airplane", "raptor": "airplane",
    "airways": "airplane", "wheel": "tire", "apc": "tank", "rocketship": "rocket", "spacecraft": "rocket",
    # things
    "phone": "telephone", "mobile": "telephone", "receiver": "telephone", "pager": "telephone", "eyeglass": "glasses",
    "spectacle": "glasses", "sunglass": "glasses", "goggle": "glasses", "pants": "trousers", "jean": "trousers",
    "jeans": "trousers", "short": "shorts", "boot": "shoe", "sandal": "shoe", "slipper": "shoe", "sneaker": "shoe",
    "cap": "hat", "fedora": "hat", "sombrero": "hat", "helmet": "hat", "bonnet": "hat", "coat": "jacket",
    "blouse": "shirt", "t-shirt": "shirt", "gown": "dress", "skirt": "dress", "sari": "dress", "bag": "handbag",
    "purse": "handbag", "backpack": "handbag", "pouch": "handbag", "watch": "clock", "stopwatch": "clock",
    "timer": "clock", "hourglass": "clock", "tombstone": "gravestone", "headstone": "gravestone",
    "grave": "gravestone", "graveyard": "gravestone", "cemetery": "gravestone", "coffin": "gravestone",
    "urn": "gravestone", "present": "gift", "trashcan": "trash", "wastebasket": "trash", "bin": "trash",
    "garbage": "trash", "lightbulb": "bulb", "lamp": "bulb", "padlock": "lock", "unlocked": "lock", "locked": "lock",
    "laptop": "computer", "desktop": "computer", "monitor": "computer", "notebook": "book", "crayon": "pencil",
    "pen": "pencil", "paintbrush": "brush", "spanner": "wrench", "mallet": "hammer", "pick": "hammer",
    "sabre": "sword", "dagger": "sword", "knife": "sword", "couch": "sofa", "bandaid": "bandage", "earth": "globe",
    "sledge": "sled", "toboggan": "sled", "lightning": "thunder", "snowflake": "snow", "snowflakes": "snow",
    "clothespin": "clothespin", "violin": "violin", "cello": "violin", "banjo": "guitar", "tom": "drum",
    "cymbal": "drum", "postbox": "mailbox", "letterbox": "mailbox", "letter": "envelope", "email": "envelope",
    "rugby": "ball", "football": "ball", "basketball": "ball", "volleyball": "ball", "softball": "ball",
    "baseball": "ball", "soccer": "ball", "cricket-ball": "ball", "roadsign": "sign", "signpost": "sign",
    "banknote": "money", "coin": "money", "cent": "money", "dollar": "money", "euro": "money", "yen": "money",
    "penny": "money", "pound": "money", "videocassette": "film", "camcorder": "camera", "bow": "ribbon",
    # buildings and places
    "hut": "house", "cottage": "house", "home": "house", "cabin": "house", "tavern": "house", "inn": "house",
    "fort": "castle", "fortress": "castle", "tower": "castle", "cathedral": "church", "monastery": "church",
    "chapel": "church", "tepee": "tent", "mosque": "church", "synagogue": "church", "temple": "church",
    "volcano": "mountain", "hill": "mountain", "cityscape": "city",
    # people and the body
    "finger": "hand", "fist": "hand", "thumb": "hand", "index": "hand", "palm-hand": "hand", "handshake": "hand",
    "salute": "hand", "moustache": "hair", "beard": "hair", "policeman": "police", "officer": "police",
    "fireman": "firefighter", "medic": "doctor", "physician": "doctor", "santa": "claus", "mermaid": "merperson",
    "merman": "merperson", "detective": "detective", "biped": "person", "couple": "person", "kiss": "person",
    "family": "person", "bride": "person", "prince": "princess", "king": "princess", "queen": "princess",
    "vampire": "zombie", "fairy": "fairy", "elf": "elf", "genie": "genie", "troll": "ogre", "goblin": "ogre",
    "skeleton": "skull", "crossbones": "skull", "ghost": "ghost", "singing": "singer", "student": "teacher",
}
