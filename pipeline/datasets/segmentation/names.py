"""Names of the classes of PASCAL VOC and PASCAL Context, which their files do not spell out."""

LANGUAGES = ("en", "es", "zh", "fr", "de", "ru")

# value in the label maps, from 1; one name per language of LANGUAGES
VOC = (
    ("aeroplane", "avión", "飞机", "avion", "Flugzeug", "самолёт"),
    ("bicycle", "bicicleta", "自行车", "vélo", "Fahrrad", "велосипед"),
    ("bird", "pájaro", "鸟", "oiseau", "Vogel", "птица"),
    ("boat", "barco", "船", "bateau", "Boot", "лодка"),
    ("bottle", "botella", "瓶子", "bouteille", "Flasche", "бутылка"),
    ("bus", "autobús", "公共汽车", "bus", "Bus", "автобус"),
    ("car", "coche", "汽车", "voiture", "Auto", "автомобиль"),
    ("cat", "gato", "猫", "chat", "Katze", "кошка"),
    ("chair", "silla", "椅子", "chaise", "Stuhl", "стул"),
    ("cow", "vaca", "奶牛", "vache", "Kuh", "корова"),
    ("dining table", "mesa de comedor", "餐桌", "table à manger", "Esstisch", "обеденный стол"),
    ("dog", "perro", "狗", "chien", "Hund", "собака"),
    ("horse", "caballo", "马", "cheval", "Pferd", "лошадь"),
    ("motorbike", "motocicleta", "摩托车", "moto", "Motorrad", "мотоцикл"),
    ("person", "persona", "人", "personne", "Person", "человек"),
    ("potted plant", "planta en maceta", "盆栽", "plante en pot", "Topfpflanze", "комнатное растение"),
    ("sheep", "oveja", "绵羊", "mouton", "Schaf", "овца"),
    ("sofa", "sofá", "沙发", "canapé", "Sofa", "диван"),
    ("train", "tren", "火车", "train", "Zug", "поезд"),
    ("tv monitor", "televisor", "电视", "téléviseur", "Fernseher", "телевизор"),
)
# the 59 frequent classes of Mottaghi et al. 2014 in the order of their label maps, from 1
CONTEXT = (
    *("aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle", "building", "bus"),
    *("cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow", "cup", "curtain", "dog", "door"),
    *("fence", "floor", "flower", "food", "grass", "ground", "horse", "keyboard", "light", "motorbike", "mountain"),
    *("mouse", "person", "plate", "platform", "potted plant", "road", "rock", "sheep", "shelves", "sidewalk", "sign"),
    *("sky", "snow", "sofa", "table", "track", "train", "tree", "truck", "tv monitor", "wall", "water", "window"),
    "wood",
)
