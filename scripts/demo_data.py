"""Names, streets, gatherings, opinions: what the demo is made of."""

from typing import Final, NamedTuple

from models.events import Tag


class Culture(NamedTuple):
    """How people and streets are called in some countries.

    Attributes:
        countries: ISO 3166 codes.
        first: first names, separated by commas.
        last: last names, separated by commas.
        streets: an address each, with `{}` for the house number.
        note: what a description ends with, in the language of the place.
    """

    countries: str
    first: str
    last: str
    streets: str
    note: str


class Theme(NamedTuple):
    """A kind of gathering.

    Attributes:
        titles: what such gatherings are called.
        about: sentences of their descriptions.
        tags: what they are found by.
        venues: kinds of places where they happen.
        praise: what those say who liked it.
        hours: how long they may last.
        seats: how many may come.
        links: where to read more.
        weekend: whether they need a free day, and begin in its morning.
    """

    titles: tuple[str, ...]
    about: tuple[str, ...]
    tags: tuple[Tag, ...]
    venues: tuple[str, ...]
    praise: tuple[str, ...]
    hours: tuple[float, ...] = (1.5, 2, 2.5, 3)
    seats: tuple[int, ...] = (12, 16, 20, 24, 30)
    links: tuple[str, ...] = ()
    weekend: bool = False


CULTURES: Final = (
    Culture(
        "US CA",
        "Ava, Liam, Grace, Noah, Maya, Ethan, Zoe, Jordan, Ruth, Marcus",
        "Johnson, Nguyen, Garcia, O'Neil, Williams, Baker, Tremblay, Lee, Reed",
        "{} Main Street, {} Oak Avenue, {} 3rd Street, {} Maple Drive",
        "Everybody is welcome.",
    ),
    Culture(
        "GB IE AU NZ",
        "Olivia, Jack, Isla, Harry, Niamh, Callum, Ffion, Oscar, Poppy, Ewan",
        "Smith, Jones, Murphy, Davies, MacLeod, Patel, Evans, Taylor, Walsh",
        "{} High Street, {} Station Road, {} Church Lane, {} Victoria Road",
        "Tea and biscuits included.",
    ),
    Culture(
        "ES MX AR CO PE CL VE EC CU DO GT BO UY PY PA CR",
        "Lucía, Mateo, Sofía, Andrés, Valentina, Íñigo, Ximena, Joaquín, Inés",
        "García, Hernández, Muñoz, López, Peña, Ramírez, Ibáñez, Castro",
        "Calle Mayor {}, Avenida Libertad {}, Calle del Sol {}, Paseo Colón {}",
        "¡Los principiantes son bienvenidos!",
    ),
    Culture(
        "BR PT AO MZ",
        "João, Beatriz, Thiago, Inês, Gonçalo, Luana, Davi, Conceição, Rui",
        "Silva, Araújo, Cardoso, Oliveira, Magalhães, Souza, Lourenço, Simões",
        "Rua das Flores {}, Avenida Central {}, Rua São João {}, Rua da Paz {}",
        "Iniciantes são bem-vindos.",
    ),
    Culture(
        "FR BE LU MC",
        "Chloé, Théo, Aïcha, Léo, Zoé, Étienne, Manon, Jérôme, Noémie, Loïc",
        "Lefèvre, Dubois, Moreau, Benoît, Garnier, Diallo, Besançon, Rousseau",
        "Rue de la Paix {}, Rue Voltaire {}, Place de la Gare {}, Quai Sud {}",
        "Les débutants sont les bienvenus.",
    ),
    Culture(
        "CI SN ML CM CD GA GN BF TG BJ CG",
        "Aminata, Kouassi, Fatou, Moussa, Grâce, Amadou, Mireille, Ibrahima",
        "Traoré, Koné, Diop, N'Guessan, Mbemba, Ouattara, Camara, Kabongo",
        "Avenue de l'Indépendance {}, Rue du Marché {}, Boulevard du Port {}",
        "Venez nombreux !",
    ),
    Culture(
        "DE AT CH",
        "Lena, Jonas, Käthe, Jürgen, Mia, Björn, Anneliese, Matthias, Zoë",
        "Müller, Schröder, Weiß, Köhler, Vogel, Schäfer, Brandt, Hofmann",
        "Hauptstraße {}, Bahnhofstraße {}, Gartenweg {}, Am Markt {}",
        "Wer neu ist, ist willkommen.",
    ),
    Culture(
        "NL",
        "Daan, Fleur, Sem, Noor, Thijs, Lotte, Bram, Zoë, Ruben, Sanne",
        "de Vries, van den Berg, Jansen, Bakker, 't Hooft, Visser, Smit",
        "Dorpsstraat {}, Stationsweg {}, Kerkstraat {}, Herengracht {}",
        "Beginners zijn welkom.",
    ),
    Culture(
        "IT",
        "Giulia, Lorenzo, Chiara, Niccolò, Aurora, Matteo, Elena, Davide",
        "Rossi, Bianchi, Ferrari, D'Angelo, Greco, Conti, De Luca, Esposito",
        "Via Roma {}, Via Garibaldi {}, Piazza Dante {}, Corso Italia {}",
        "Aperto a tutti.",
    ),
    Culture(
        "SE NO DK FI IS",
        "Åsa, Björn, Freja, Søren, Aino, Øystein, Linnéa, Mikkel, Sigrún",
        "Lindqvist, Sørensen, Bergström, Mäkinen, Håkonsen, Nygård, Ødegaard",
        "Storgatan {}, Skolevej {}, Kirkegata {}, Parkgatan {}",
        "Alla är välkomna.",
    ),
    Culture(
        "PL",
        "Zofia, Łukasz, Małgorzata, Stanisław, Agnieszka, Paweł, Jagoda",
        "Nowak, Wójcik, Łuczak, Zieliński, Dąbrowska, Kaczmarek, Gołąb",
        "ulica Długa {}, ulica Szkolna {}, aleja Kościuszki {}, Rynek {}",
        "Zapraszamy początkujących.",
    ),
    Culture(
        "CZ SK HU RO HR SI",
        "Tereza, Jiří, Zsófia, Gábor, Ștefan, Ioana, Željko, Nikolína",
        "Novák, Dvořáková, Szabó, Kovács, Popescu, Țepeș, Horvat, Černý",
        "Nádražní {}, Kossuth utca {}, Strada Lungă {}, Trg slobode {}",
        "Newcomers are welcome.",
    ),
    Culture(
        "RU BY KZ",
        "Анна, Дмитрий, Екатерина, Сергей, Ольга, Алексей, Мария, Иван",
        "Шевчук, Бондаренко, Коваль, Черных, Седых, Ткаченко, Гринь",
        "улица Мира {}, проспект Победы {}, Садовая улица {}",
        "Новичкам рады.",
    ),
    Culture(
        "UA",
        "Олена, Тарас, Ярина, Богдан, Софія, Андрій, Наталія, Катерина",
        "Шевченко, Коваленко, Бондар, Ткачук, Гончар, Мельник, Лисенко",
        "вулиця Шевченка {}, вулиця Садова {}, проспект Свободи {}",
        "Початківцям раді.",
    ),
    Culture(
        "GR CY",
        "Ελένη, Γιώργος, Μαρία, Νίκος, Κατερίνα, Δημήτρης, Ιωάννα",
        "Παπαδόπουλος, Γεωργίου, Νικολάου, Ιωάννου, Οικονόμου, Βασιλείου",
        "Οδός Ερμού {}, Λεωφόρος Αθηνών {}, Οδός Αγίου Γεωργίου {}",
        "Όλοι είναι ευπρόσδεκτοι.",
    ),
    Culture(
        "TR",
        "Ayşe, Mehmet, Elif, Çağlar, Zeynep, Oğuz, Şule, Emre, Gülşen, Işıl",
        "Yılmaz, Öztürk, Çelik, Şahin, Aydın, Koç, Güneş, Doğan, Kılıç",
        "Atatürk Caddesi {}, Çarşı Sokak {}, İstiklal Caddesi {}, Gül Sokak {}",
        "Yeni başlayanlar da gelebilir.",
    ),
    Culture(
        "EG SA AE IQ JO KW QA OM SY LB SD LY YE BH",
        "محمد, فاطمة, أحمد, مريم, يوسف, ليلى, عمر, نور, خالد, سلمى",
        "حسن, العلي, منصور, الخطيب, إبراهيم, الشريف, ناصر, حداد",
        "شارع النيل {}, شارع الجامعة {}, شارع السلام {}, ميدان التحرير {}",
        "أهلا بالمبتدئين.",
    ),
    Culture(
        "MA DZ TN",
        "Yasmine, Karim, Salma, Rachid, Imane, Anis, Nadia, Mehdi, Lamia",
        "Benali, El Idrissi, Haddad, Bouzid, Chérif, Mansouri, Ziani",
        "Avenue Hassan II {}, Rue des Orangers {}, Boulevard de la Corniche {}",
        "Bienvenue à tous — مرحبا.",
    ),
    Culture(
        "IR AF",
        "زهرا, رضا, مریم, علی, شیرین, آرش, نرگس, حسین, پریسا, کیان",
        "احمدی, کریمی, رضایی, موسوی, حسینی, جعفری, نوری, کاظمی",
        "خیابان آزادی {}, خیابان باغ {}, کوچه گلستان {}",
        "همه خوش آمدید.",
    ),
    Culture(
        "IL",
        "נועה, יוסף, תמר, דוד, מאיה, איתן, שירה, אורי, רחל",
        "כהן, לוי, מזרחי, פרץ, ביטון, פרידמן, אברהם",
        "רחוב הרצל {}, שדרות רוטשילד {}, רחוב הנביאים {}",
        "כולם מוזמנים.",
    ),
    Culture(
        "IN NP LK",
        "Aarav, Priya, अनन्या, Rohan, Kavitha, विक्रम, Meera, Arjun, Lakshmi",
        "Sharma, Iyer, Reddy, पटेल, Banerjee, Nair, Singh, Kulkarni, गुप्ता",
        "{} MG Road, {} Gandhi Nagar, {} Station Road, {} Lake View Colony",
        "सभी का स्वागत है।",
    ),
    Culture(
        "PK",
        "Ayesha, Bilal, Hina, Usman, Sana, Hamza, Mahnoor, Imran, زینب",
        "Khan, Malik, Qureshi, Siddiqui, Chaudhry, Baloch, Shah, اقبال",
        "{} Mall Road, {} Iqbal Avenue, {} University Road, {} Garden Lane",
        "سب کو خوش آمدید۔",
    ),
    Culture(
        "BD",
        "তানিয়া, রহিম, নুসরাত, সাকিব, মিতু, আরিফ, শিরিন, ইমরান",
        "আহমেদ, ইসলাম, চৌধুরী, দাস, খাতুন, হোসেন, রায়",
        "{} স্টেশন রোড, {} কলেজ রোড, {} নিউ মার্কেট",
        "সবাইকে স্বাগতম।",
    ),
    Culture(
        "CN SG",
        "伟, 芳, 秀英, 磊, 静, 强, 晓明, 丽娜, 浩然, 欣怡, 子涵",
        "王, 李, 张, 刘, 陈, 杨, 黄, 赵, 周, 欧阳",
        "中山路{}号, 人民路{}号, 解放大道{}号, 建设路{}号, 和平街{}号",
        "欢迎初学者参加。",
    ),
    Culture(
        "TW HK MO",
        "雅婷, 志豪, 怡君, 家豪, 詠詩, 俊傑, 淑芬, 子軒, 美玲",
        "陳, 林, 黃, 張, 李, 吳, 劉, 何, 鄭",
        "中正路{}號, 民生東路{}號, 彌敦道{}號, 文化路{}號",
        "歡迎初學者參加。",
    ),
    Culture(
        "JP",
        "さくら, 健太, 美咲, 翔, 陽菜, 大輔, 結衣, 蓮, 愛子, 誠",
        "佐藤, 鈴木, 高橋, 田中, 伊藤, 渡辺, 山本, 小林, 加藤",
        "本町{}丁目, 栄町{}丁目, 中央通り{}, 桜木町{}丁目, 駅前通り{}",
        "初心者も大歓迎です。",
    ),
    Culture(
        "KR",
        "서연, 민준, 지우, 도윤, 하은, 현우, 수빈, 지훈, 예린",
        "김, 이, 박, 최, 정, 강, 조, 윤, 남궁",
        "중앙로 {}, 세종대로 {}, 시청길 {}, 대학로 {}",
        "초보자도 환영합니다.",
    ),
    Culture(
        "VN",
        "Linh, Minh, Thảo, Đức, Hương, Quân, Ngọc, Tuấn, Phương, Bảo",
        "Nguyễn, Trần, Lê, Phạm, Hoàng, Vũ, Đặng, Bùi, Đỗ",
        "{} Lê Lợi, {} Nguyễn Huệ, {} Trần Hưng Đạo, {} Hai Bà Trưng",
        "Người mới luôn được chào đón.",
    ),
    Culture(
        "TH",
        "สมชาย, มาลี, อนันต์, พิมพ์ชนก, ณัฐ, กานดา, ธนา, ศิริพร",
        "ใจดี, สุขสันต์, ทองคำ, วงศ์ไทย, ศรีสุข, แสงทอง",
        "ถนนสุขุมวิท {}, ถนนพหลโยธิน {}, ถนนราชดำเนิน {}",
        "ยินดีต้อนรับทุกคน",
    ),
    Culture(
        "ID MY",
        "Putri, Budi, Siti, Agus, Dewi, Rizky, Nurul, Hafiz, Intan, Wayan",
        "Santoso, Wijaya, Pratama, Abdullah, Lestari, Hidayat, Ismail, Tan",
        "Jalan Merdeka {}, Jalan Sudirman {}, Jalan Melati {}, Jalan Ampang {}",
        "Pemula dipersilakan datang.",
    ),
    Culture(
        "PH",
        "Maria, Jose, Angelica, Paolo, Luzviminda, Miguel, Tala, Jericho",
        "Santos, Reyes, Dela Cruz, Bautista, Aquino, Mendoza, Macaraeg",
        "{} Rizal Avenue, {} Mabini Street, {} Bonifacio Street",
        "Tuloy po kayo.",
    ),
    Culture(
        "NG GH",
        "Chidinma, Emeka, Ọlámidé, Tunde, Amina, Kwame, Akosua, Yusuf, Ngozi",
        "Okafor, Adébáyọ̀, Bello, Mensah, Eze, Owusu, Ibrahim, Balogun",
        "{} Independence Avenue, {} Market Road, {} Airport Road",
        "All are welcome.",
    ),
    Culture(
        "KE TZ UG RW",
        "Wanjiru, Otieno, Achieng, Baraka, Neema, Juma, Imani, Kato, Zawadi",
        "Kamau, Odhiambo, Mwangi, Mushi, Okello, Nyambura, Hassan, Uwimana",
        "{} Uhuru Street, {} Kenyatta Avenue, {} Nyerere Road",
        "Karibuni nyote.",
    ),
    Culture(
        "ZA ZW BW NA ZM",
        "Thandiwe, Sipho, Anika, Lerato, Pieter, Nomvula, Tendai, Johan",
        "Dlamini, Naidoo, van der Merwe, Khumalo, Mokoena, Moyo, Botha",
        "{} Long Street, {} Church Street, {} Mandela Drive",
        "Siyakwamukela.",
    ),
    Culture(
        "ET ER",
        "ሰላም, አበበ, ሄለን, ዳዊት, ሊያ, ዮሐንስ, ማርታ",
        "ተስፋዬ, በቀለ, ግርማ, ኃይሌ, መኮንን, አለሙ",
        "Bole Road {}, Churchill Avenue {}, Piazza {}",
        "እንኳን ደህና መጡ።",
    ),
)

_HALLS: Final = ("Makerspace", "Central Library", "Community Hall", "Tech Hub")
_CAFES: Final = ("Café Corner", "Tea House", "Culture Café")
_OUTDOORS: Final = ("City Park", "Riverside Path", "Sports Ground")

THEMES: Final = (
    Theme(
        (
            "Python for beginners",
            "Python workshop: your first web service",
            "Python workshop: read and plot your own data",
            "Python workshop: a bot for the community chat",
        ),
        (
            "Bring a laptop with Python 3; we install the rest together.",
            "We write code in pairs and read it aloud at the end.",
            "You leave with a small program that runs.",
        ),
        (Tag.WORKSHOP, Tag.CLASS),
        _HALLS,
        (
            "My first program runs, and I know why.",
            "Reading the code aloud was the best part.",
            "Nobody laughed at my questions. I'll be back.",
        ),
        links=("https://docs.python.org/3/tutorial/",),
    ),
    Theme(
        (
            "Python evening: async without tears",
            "Typing Python: from hints to proofs",
            "Faster Python: profile, then change",
            "Testing Python without mocks",
        ),
        (
            "You write Python at work or in your free time.",
            "Bring a program of yours that annoys you.",
            "One short talk, then we work in small groups.",
        ),
        (Tag.WORKSHOP, Tag.MEETING),
        _HALLS,
        (
            "My annoying script is half as long now.",
            "A short talk and a lot of practice: just right.",
            "I finally understand what `await` waits for.",
        ),
        links=("https://docs.python.org/3/howto/",),
    ),
    Theme(
        (
            "NumPy for everybody",
            "NumPy workshop: think in arrays",
            "Data clinic: bring your spreadsheet",
            "Maps workshop: from CSV to a map in Python",
        ),
        (
            "Each seat comes with an account on our machines.",
            "We broadcast, slice and vectorise until the loops are gone.",
            "Bring a data set that puzzles you.",
        ),
        (Tag.WORKSHOP, Tag.CLASS),
        _HALLS,
        (
            "I can slice arrays now!",
            "My loops are gone, and so is the waiting.",
            "The accounts worked from the first minute.",
        ),
        links=("https://numpy.org/doc/stable/user/absolute_beginners.html",),
    ),
    Theme(
        (
            "GPU evening: train a small language model",
            "GPU workshop: your first CUDA kernel",
            "Paper club: attention, step by step",
            "Machine learning study group",
        ),
        (
            "Each seat gives a GPU session for the evening.",
            "We read one paper and rebuild its main figure.",
            "You need some linear algebra and no fear of error messages.",
        ),
        (Tag.WORKSHOP, Tag.MEETING),
        ("GPU Lab", "University, room 2.14", "Tech Hub"),
        (
            "I trained a model, and it even answers.",
            "We rebuilt the figure. Ours is nicer.",
            "The GPU was mine for a whole evening. Thank you!",
        ),
        hours=(2, 2.5, 3, 4),
        links=("https://pytorch.org/tutorials/",),
    ),
    Theme(
        (
            "Weekend hackathon: software for the city",
            "Climate hackathon",
            "Game jam: one button, one weekend",
            "Open data hackathon",
        ),
        (
            "Teams form on the spot; sleeping bags are allowed.",
            "Juries are boring: everybody shows what they made on Sunday.",
            "Food is there, and GPUs for those who need them.",
        ),
        (Tag.HACKATHON,),
        ("Tech Hub", "University, main hall", "Makerspace"),
        (
            "We slept four hours and built something that works.",
            "I came alone and left with a team.",
            "No jury, no losers: keep it like that.",
        ),
        hours=(10, 24, 32),
        seats=(40, 60, 80, 120),
        weekend=True,
    ),
    Theme(
        (
            "Repair café",
            "Soldering workshop: build a radio",
            "Bicycle workshop: brakes and gears",
            "3D printing workshop: from sketch to part",
            "Robotics evening",
        ),
        (
            "Bring what is broken; tools and tea are there.",
            "Everybody may use the machines after the introduction.",
            "Children come with a grown-up.",
        ),
        (Tag.WORKSHOP,),
        ("Makerspace", "Community Hall", "Bicycle Kitchen"),
        (
            "My lamp shines again.",
            "The right tool for everything, and tea.",
            "My daughter now wants a soldering iron.",
        ),
        hours=(2, 3, 4),
    ),
    Theme(
        (
            "Rust study group",
            "Open source evening: your first pull request",
            "Linux install party",
            "Database night: indexes explained",
            "Lightning talks",
        ),
        (
            "Five minutes each, then questions.",
            "We help each other to get unstuck.",
            "Pizza is paid by whoever broke the build last.",
        ),
        (Tag.MEETING,),
        _HALLS,
        (
            "My first pull request was merged on Monday!",
            "Five minutes are enough for a good idea.",
            "I got unstuck within a quarter of an hour.",
        ),
        seats=(20, 30, 40, 60),
    ),
    Theme(
        (
            "Board games night",
            "Language exchange",
            "Book club",
            "Chess in the café",
            "Newcomers' table",
        ),
        (
            "Come alone or with friends.",
            "The first drink is on the community.",
            "We start on time and end when the place closes.",
        ),
        (Tag.MEETING,),
        _CAFES,
        (
            "I came alone and left with phone numbers.",
            "The best table was the loudest one.",
            "We were the last to leave.",
        ),
        seats=(8, 10, 12, 16),
    ),
    Theme(
        (
            "Bread workshop: sourdough from scratch",
            "Community dinner",
            "Dumplings together",
            "Street food walk",
            "Coffee tasting",
        ),
        (
            "Tell us about allergies when you sign up.",
            "We cook together and eat what comes of it.",
            "Ingredients are shared at cost.",
        ),
        (Tag.FOOD, Tag.PAID),
        ("Community Kitchen", "Market Hall", *_CAFES),
        (
            "The best meal of my week.",
            "My starter is alive and has a name.",
            "Everybody cooked, everybody washed up.",
        ),
        seats=(8, 10, 12, 20),
    ),
    Theme(
        (
            "Yoga in the park",
            "Five kilometres, no hurry",
            "Pick-up basketball",
            "Beginners' climbing",
            "Bicycle ride",
        ),
        (
            "All levels; we wait for the last one.",
            "Bring water and shoes that you can run in.",
            "We meet rain or shine.",
        ),
        (Tag.SPORT,),
        _OUTDOORS,
        (
            "They really did wait for the last one: me.",
            "It rained, and it was lovely.",
            "Not fast, but happy.",
        ),
        hours=(1, 1.5, 2),
        seats=(10, 15, 22, 40),
    ),
    Theme(
        (
            "Choir rehearsal, open to all",
            "Jam session",
            "Live coding concert",
            "Listening evening: one album",
        ),
        (
            "Bring an instrument, or just your ears.",
            "No auditions, no solos unless you want one.",
            "The room has a piano and bad acoustics.",
        ),
        (Tag.MUSIC,),
        ("Old Cinema", "Music School", *_CAFES),
        (
            "I sang in front of people. Me!",
            "Three hours, one chord, no regrets.",
            "The piano is out of tune, and it doesn't matter.",
        ),
        seats=(20, 40, 80),
    ),
    Theme(
        (
            "Life drawing",
            "Photography walk",
            "Generative art workshop",
            "Printmaking class",
        ),
        (
            "Paper and ink are there.",
            "We look at everybody's pictures at the end.",
            "No talent required.",
        ),
        (Tag.ART, Tag.CLASS),
        ("Art School", "Gallery", "Old Cinema"),
        (
            "I can't draw, and I want to go on.",
            "Seeing everybody's pictures at the end was great.",
            "Ink on my sleeves, a print on my wall.",
        ),
    ),
)

# What lasts for days, and goes on whenever the demo is looked at.
LASTING_THEMES: Final = (
    Theme(
        (
            "Open code lab",
            "Thirty days of Python",
            "Robot residency",
        ),
        (
            "Come and go as you like during opening hours.",
            "A mentor is there every evening.",
        ),
        (Tag.WORKSHOP, Tag.CLASS),
        _HALLS,
        (
            "I drop in after work. There is always somebody who knows.",
            "The mentors take their time.",
            "Day nine, and I haven't given up.",
        ),
        seats=(30, 50, 80),
    ),
    Theme(
        (
            "Exhibition: pictures made by machines",
            "Exhibition: maps of our city",
            "Mural in progress",
        ),
        (
            "Open every day; guided tours at the weekend.",
            "Members of the community show what they made.",
        ),
        (Tag.ART,),
        ("Gallery", "Central Library", "Old Cinema"),
        (
            "Take the guided tour, it is worth it.",
            "I found my own street on the wall.",
            "I went twice, the second time with my parents.",
        ),
        seats=(60, 120, 200),
    ),
)

DENIAL_REASONS: Final = (
    "Please name the venue.",
    "This looks like an advertisement.",
    "The same event is published already.",
)

# What anybody may say of any gathering, by how it was.
PRAISE: Final = (
    "Well organised, kind people.",
    "I learned more than in a month alone.",
    "Thank you all! When is the next one?",
    "Exactly what I hoped for.",
)
DOUBTS: Final = (
    "Nice people, but a bit crowded.",
    "Good, though it began half an hour late.",
    "A little too fast for me.",
    "The room was cold. The rest was fine.",
    "More breaks, please.",
)
COMPLAINTS: Final = (
    "Too loud to hear a word.",
    "I could not find the door, and nobody answered.",
    "Not what the description says.",
    "Half of those who had a seat did not come.",
)
