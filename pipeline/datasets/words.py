"""Word tables behind concept names and families. Plain English words in the singular, to be read and edited."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARTICLES = _words("a an the some our your my this that these")

# A family is named by a noun; none of these tells one family from another.
PEOPLE = _words(
    """
    man men woman women person people boy girl child adult male female mr mrs mx baby older old young mother
    father grandma grandpa
    """
)
COLOURS = _words(
    """
    red orange yellow green blue purple violet brown black white grey gray pink light dark silver golden gold
    colourful colorful albino ginger
    """
)
SIZES = _words(
    """
    small medium medium-small large big little huge tiny long short tall heavy very slightly half quarter full
    double square round flat
    """
)
NUMBERS = _words(
    """
    one two three four five six seven eight nine ten eleven twelve first second third last 1st 2nd 3rd another
    couple pair
    """
)
DIRECTIONS = _words(
    """
    left right up down upwards downwards leftwards rightwards left-right up-down up-right up-left down-right
    down-left clockwise counterclockwise upward downward left-facing right-facing front-facing facing oncoming
    incoming outgoing northern southern
    """
)
STATES = _words(
    """
    open opened closed empty filled hollow lit unlit broken sliced wrapped folded new modern old-fashioned
    antique classic medieval sick happy sad sleeping sitting singing waxing waning crescent rolled-up raised
    crossed waving grinning kissing crying weary pouting roasted cooked baked fried toy model plastic wooden
    metal rubber european american canadian japanese chinese indian swiss german spanish irish australian
    common wild domestic freshwater tropical floppy-eared eared floppy headed covered electric digital
    mechanical automatic home garden giant dwarf spiral smiling core slice motorized manual
    """
)
GENERIC = ARTICLES | PEOPLE | COLOURS | SIZES | NUMBERS | DIRECTIONS | STATES

# What follows one of these is an attribute of the noun before it.
ENDS_OF_NOUN = _words(
    """
    with without of in on for from by to at into as like than who which is are was were means stands used worn
    showing holding wearing carrying inside under behind after before over between through around covered
    called making carries lets dancing resembles hatched lands ahead where when if you can may must carry last
    playing says say help
    """
)

# "a bunch of grapes" is about grapes, "a house of cards" is not about cards.
CONTAINERS = _words(
    """
    pair couple cluster bunch quarter half cup glass slice head piece tube string plant model sprig set lot
    box pack bowl bottle group picture photo drawing image school herd flock pile stack back emblem
    """
)

# "palm tree" belongs to the palms and to the trees.
CLASS_NOUNS = _words("tree flower fruit plant bird fish animal truck car bus boat")

# Nouns that look like plurals.
INVARIABLE = _words("lens glasses christmas trousers shorts scissors pliers claus dress bus gas canvas")

# Wherever one of these stands in a name, the concept belongs to its family ("heart with ribbon", "elf's hat") ...
ANCHORS = _words(
    """
    heart clock moon cat dog monkey mailbox globe book umbrella penguin egg snowman medal hat kimono guitar
    candle dreidel balloon gravestone spider flag castle lock apple lemon watermelon pumpkin
    """
)
# ... unless the name is about one of these, which would tie everything that people do into one family.
BODIES = _words("person face hand")

# On each line: the word that is meant, and the words that mean it here.
_MEANINGS = """
cat: kitten kitty
dog: puppy hound poodle dingo
rabbit: bunny hare
sheep: lamb ewe ram
chicken: hen rooster chick cock
cow: bull ox calf cattle zebu
pig: boar hog piglet sow
goat: mountaingoat
horse: pony foal
deer: doe stag reindeer caribou wapiti elk
camel: dromedary
duck: drake duckling
goose: gander
peacock: peahen
dove: pigeon
pumpkin: jack-o'-lantern jack-o-lantern
seagull: gull
frog: toad
penguin: tux
mouse: rat rodent
monkey: chimpanzee gorilla orangutan tamarin ape
slug: snail
beetle: ladybug
bee: wasp hornet honeybee hoverfly
whale: orca
lobster: crab
rhinoceros: rhino
hippopotamus: hippo
bison: buffalo
parrot: lorikeet rosella
wildebeest: gnu
butterfly: xanthia
iguana: lizard
spider: spiderweb web
dinosaur: sauropod rex
tree: fir oak pine birch evergreen
mushroom: toadstool cep
clover: shamrock
orange: tangerine mandarin
potato: yam
maize: corn
eggplant: aubergine
flower: blossom bouquet tulip rose hibiscus daffodil iris marigold petunia gazania anemone sunflower rosette
pepper: chile chilli
plum: prune
cake: cupcake pudding shortcake
candy: sweet lollipop
bread: baguette bun loaf bagel
coffee: espresso mug
egg: eggshell
pot: soup
car: automobile sedan taxi cab suv
truck: lorry pickup
tractor: bulldozer
bus: trolleybus minibus
bicycle: bike tricycle cyclist biking
motorcycle: motorbike scooter
train: locomotive railway rail tram metro monorail caboose boxcar carriage tender subway station
boat: sailboat ship ferry speedboat motorboat tugboat canoe vessel shipwreck
airplane: plane aeroplane jet raptor airways
tire: wheel
tank: apc
rocket: rocketship spacecraft
telephone: phone mobile receiver pager
glasses: eyeglass spectacle sunglass goggle
trousers: pants jean jeans
pliers: plier
shorts: short
shoe: boot sandal slipper sneaker
hat: cap fedora sombrero helmet bonnet
jacket: coat
shirt: blouse t-shirt
dress: gown skirt sari
handbag: bag purse backpack pouch
clock: watch stopwatch timer hourglass
gravestone: tombstone headstone grave graveyard cemetery coffin urn
gift: present
trash: trashcan wastebasket bin garbage
bulb: lightbulb lamp
lock: padlock unlocked locked
computer: laptop desktop monitor
book: notebook
pencil: crayon pen
brush: paintbrush
wrench: spanner
hammer: mallet pick
sword: sabre dagger knife
sofa: couch
bandage: bandaid
globe: earth
sled: sledge toboggan
thunder: lightning
snow: snowflake snowflakes
violin: cello
guitar: banjo
drum: tom cymbal
mailbox: postbox letterbox
envelope: letter email
ball: rugby football basketball volleyball softball baseball soccer
sign: roadsign signpost
money: banknote coin cent dollar euro yen penny pound
film: videocassette
camera: camcorder
ribbon: bow
house: hut cottage home cabin tavern inn
castle: fort fortress tower
church: cathedral monastery chapel mosque synagogue temple
tent: tepee
mountain: volcano hill
city: cityscape
hand: finger fist thumb index pointing handshake salute
hair: moustache beard
police: policeman officer
firefighter: fireman
doctor: medic nurse physician
claus: santa
merperson: mermaid merman
person: biped couple kiss family bride
princess: prince king queen
zombie: vampire
ogre: troll goblin
skull: skeleton crossbones
singer: singing
teacher: student
"""
SYNONYMS = {
    word: meaning
    for meaning, _, words in (line.partition(":") for line in _MEANINGS.strip().splitlines())
    for word in words.split()
}
