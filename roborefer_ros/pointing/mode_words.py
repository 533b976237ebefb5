# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The English words by which ``mode`` tells a free spot from a thing.

Lists only: what they mean for an instruction is decided in ``mode``.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> tuple[tuple[str, ...], ...]:
    """One phrase a line, longest first, so that the longest one is found."""
    lines = (tuple(line.split()) for line in text.strip().splitlines())
    return tuple(sorted(lines, key=len, reverse=True))


# --- nouns and adjectives --------------------------------------------------------------

#: nouns of room: a spot unless something says that it is taken
ROOM = _words(
    "space spot place area region room gap zone slot location position clearance vacancy patch "
    "stretch placement void site destination dropzone"
)

#: nouns of a part: a spot where it is called free, or is part of one
PART = _words(
    "surface part portion side half corner end edge middle center centre section point pixel "
    "coordinate midpoint quarter third rest bit row column tabletop workspace worktop layer "
    "square cell bay lane strip segment interior inside"
)

#: of those, the ones that mean a place without extent
POINT = _words("point pixel coordinate middle center centre midpoint location position spot")

#: what things are put on: their areas are spots
SURFACE = _words(
    "table tabletop desk desktop shelf counter countertop floor ground tray board bench workbench "
    "surface worktop rack cabinet cupboard drawer bed sofa mat carpet rug plate bin basket box "
    "tablecloth stand pallet conveyor"
)

FREE = _words(
    "free empty vacant open unoccupied clear unused uncluttered unobstructed available spare bare "
    "unfilled unblocked untaken uncovered blank emptiest freest clearest usable "
    "uncrowded object-free clutter-free obstacle-free unclaimed remaining leftover"
)

#: a part that looks different is a mark on something, not room
APPEARANCE = _words(
    "red green blue yellow orange purple pink brown black white gray grey golden silver dark "
    "bright light shiny dull wet dirty sticky dusty burnt stained colored coloured striped bald "
    "sore rusty greasy damaged scratched blurry highlighted marked occupied taken crowded "
    "cluttered covered filled used reserved"
)

TAKEN = _words("occupied taken covered filled crowded cluttered used reserved blocked")

NOTHING = _words("no nothing none without empty free vacant unoccupied clear")

SOMEWHERE = _words("somewhere anywhere here there elsewhere wherever someplace anyplace")

PRONOUN = _words("it them this that these those one ones everything something mine yours")

#: "place mat", "place card": names in which a word of placing is part of a noun
NOUN_AFTER = {
    "place": _words(
        "mat mats card cards setting settings holder holders marker markers name names of for "
        "where that which is with"
    ),
    "set": _words("of square"),
    "put": _words("of"),
    "rest": _words("of"),
    "drop": _words("of zone point area location spot"),
    "position": _words("of for where that which is with"),
    "spot": _words("of for where that which is with between on in next near left right"),
    "mark": _words("of on in"),
    "point": _words("of"),
}

DETERMINER = _words(
    "the a an this that these those my your his her its our their some any all every each both "
    "another other several many few more most enough one two three four five six seven eight "
    "nine ten 1 2 3 4 5 6 7 8 9 10 such whole entire exactly only which what either"
)

# --- verbs -----------------------------------------------------------------------------

#: to see: what is seen decides
LOOK = _words(
    "point show mark find locate identify indicate highlight select choose detect tell give look "
    "search see spot click tap pinpoint determine recognize recognise want need use "
    "label annotate describe name output predict circle focus check localize "
    "localise segment decide imagine guess figure suggest propose recommend designate specify "
    "provide have go drive navigate approach aim gaze notice observe examine consider inspect reach"
)

#: which only lead to another request
LOOK_AROUND = _words("look see observe examine consider inspect check focus gaze notice")

#: to take hold of or act on a thing
TAKE = _words(
    "pick grasp grab take get lift fetch bring remove hold collect retrieve hand pass catch pull "
    "push press open close turn touch clear rotate tip tilt pour flip squeeze carry clean wipe "
    "wash cut slice unload empty raise pluck gather seize snatch deliver serve clutch "
    "clasp obtain extract unplug unscrew twist shake stir eat drink dispose discard drag roll "
    "poke nudge hit kick fill feed offer bag free"
)

#: of those, the ones that carry: with a place to go to they are two actions
CARRY = _words("bring take carry get fetch deliver drag pull push roll lift pick grab hand")

#: to choose: "pick a free spot"
CHOOSE = _words("pick choose select take get grab")

#: to put a thing somewhere
PLACE = _words(
    "put place set lay drop deposit rest stand position park leave stow store arrange insert "
    "stack hang move shift slide relocate transfer return release keep add lean balance prop tuck "
    "load pack plant install mount drape stick plop dump throw toss lower slot align "
    "center centre situate fit settle nestle perch pile reposition"
)

#: that move a thing along: only a new place makes them placing
MOVE = _words("move shift slide relocate transfer return reposition lower align center centre fit")

#: that are nouns or adjectives as often: verbs only before an article, pronoun or the like
WEAK = _words(
    "stand rest position park store leave lay hang spot mark clear open empty free hand "
    "plant stick slot load pack stack pile fit slice cut turn hold need want use have center "
    "centre name label circle square tap click hit drink bag lower mount return roll drag "
    "get see check board"
)

PLACED = _words(
    "put placed set laid dropped deposited rested stood positioned parked left stowed stored "
    "arranged inserted stacked hung moved relocated added kept"
)

GO = _words("go goes fit fits belong belongs")
STAY = _words("stand sit lie rest live be")

MODAL = _words("can could should would shall may might must will ought")
AUXILIARY = MODAL | _words("do does")
BE = _words("is are was were be")
PAST = _words("did have has had was were")

PARTICLE = _words("up out down away off back over aside together along")

#: after a verb of seeing: "point out to me ..."
AFTER_LOOK = _words(
    "out to at for me us up on onto upon toward towards into as with exactly in back over straight"
)

#: a clause about a thing that says where it is
LOCATED = _words(
    "standing lying sitting resting placed located positioned situated hanging leaning facing put "
    "found shown seen surrounded held used filled made painted covered marked occupied taken "
    "containing holding wearing touching belonging stacked set left being directly immediately "
    "just closest nearest farthest furthest lies sits stands free empty available "
    "unoccupied vacant clear big large wide suitable sufficient encased adjacent"
)
DISTANCE = _words(
    "right just directly immediately exactly slightly bit little somewhat far close shortly about "
    "approximately roughly cm mm centimeters centimetres millimeters millimetres inch inches metre "
    "meter m straight"
)
LOCATIVE_VERB = _words(
    "is are was were stands stand sits sit lies lie rests rest hangs hang stays stay leans lives "
    "standing sitting lying resting hanging leaning placed located positioned situated stood sat "
    "lay"
)
RELATIVE = _words("that which who whose whom")

# --- places ----------------------------------------------------------------------------

#: prepositions that say where, as phrases of words
WHERE = _phrases(
    """
    in front of
    to the left of
    to the right of
    on the left of
    on the right of
    at the left of
    at the right of
    to the left side of
    to the right side of
    on the left side of
    on the right side of
    on the left hand side of
    on the right hand side of
    to the side of
    on the other side of
    on either side of
    at the side of
    to the front of
    to the rear of
    at the front of
    in the front of
    at the back of
    in back of
    in the middle of
    in the center of
    in the centre of
    at the center of
    at the centre of
    in the middle between
    in between
    on top of
    on the top of
    left of
    right of
    left from
    right from
    north of
    south of
    east of
    west of
    next to
    close to
    near to
    adjacent to
    alongside of
    inside of
    outside of
    away from
    halfway between
    midway between
    between
    beside
    besides
    alongside
    near
    nearby
    behind
    beyond
    above
    below
    beneath
    under
    underneath
    over
    opposite
    against
    around
    among
    amongst
    amid
    by
    inside
    outside
    within
    onto
    into
    upon
    atop
    on
    in
    at
    along
    across
    before
    after
    to
    toward
    towards
    """
)

#: of those, the ones that say on or in what, not beside what
ON = frozenset(
    _phrases(
        """
        on
        in
        at
        within
        inside
        inside of
        onto
        into
        upon
        atop
        on top of
        on the top of
        across
        along
        """
    )
)

#: of those, the ones that by themselves do not name a place
VAGUE = frozenset((word,) for word in ("to", "toward", "towards", "before", "after", "at"))

#: that end a noun without saying where
OTHER_PREPOSITION = _words("of with from for without off than as like via per including except")

END_OF_NOUN = _words(
    "and or but so because if while since please then you i we he she they it to is are was were "
    "be been has have had do does did can could should would shall may might must will ought needs "
    "need goes belongs fits fit belong go contains holds touches faces looks seems where when "
    "there here away not again now please thanks too also nearby"
)

# --- politeness ------------------------------------------------------------------------

#: what may stand before the request itself
LEAD_IN = _phrases(
    """
    please
    kindly
    just
    simply
    now
    then
    first
    firstly
    second
    secondly
    finally
    lastly
    afterwards
    after that
    step 1
    step one
    ok
    okay
    so
    hey
    hi
    hello
    well
    alright
    also
    and
    but
    now then
    robot
    hey robot
    hello robot
    dear robot
    could you
    can you
    would you
    will you
    could you maybe
    could we
    can we
    can i
    could i
    may i
    should i
    should we
    shall i
    shall we
    would you mind
    do you mind
    would you be so kind as to
    would you be so kind and
    would it be possible to
    would you be able to
    are you able to
    could i ask you to
    may i ask you to
    be so kind as to
    if you would
    if you please
    if you can
    if possible
    i want you to
    i want to
    i would like you to
    i would like to
    i would love you to
    i would like
    i need you to
    i need to
    i have to
    i am trying to
    i am looking for
    i need
    i want
    we need
    we want
    i am searching for
    i am going to
    we need to
    we want to
    we would like to
    you should
    you must
    you need to
    you have to
    you can
    you could
    you may
    you are to
    you will
    let us
    let me
    help me to
    help me
    help us
    try to
    try and
    go ahead and
    go and
    go on and
    your task is to
    your job is to
    the task is to
    the goal is to
    the robot should
    the robot must
    the robot has to
    the robot needs to
    the gripper should
    the arm should
    the robot arm should
    i wish to
    is it possible to
    feel free to
    make sure to
    be sure to
    remember to
    don't forget to
    do not forget to
    it is time to
    time to
    quickly
    carefully
    gently
    slowly
    immediately
    directly
    somehow
    maybe
    perhaps
    i wonder
    i was wondering
    do you know
    do you see
    can you see
    could you see
    can you tell me
    could you tell me
    can you show me
    could you show me
    any idea
    i mean
    """
)

NEGATION = (("do", "not"), ("never",), ("not",), ("avoid",), ("stop",))

#: what begins a request for a format, which says nothing about the thing
FORMAT_REQUEST = _phrases(
    """
    your answer should
    your final answer should
    the answer should
    answer should be
    output the point
    output the coordinates
    output coordinates
    return only
    please provide its
    provide its
    format your answer
    answer with
    answer in
    respond with
    """
)

CONTRACTIONS = {
    "where's": "where is",
    "what's": "what is",
    "which's": "which is",
    "who's": "who is",
    "there's": "there is",
    "that's": "that is",
    "it's": "it is",
    "here's": "here is",
    "i'm": "i am",
    "i'd": "i would",
    "i've": "i have",
    "i'll": "i will",
    "you're": "you are",
    "you'd": "you would",
    "we're": "we are",
    "we'd": "we would",
    "let's": "let us",
    "don't": "do not",
    "doesn't": "does not",
    "isn't": "is not",
    "aren't": "are not",
    "can't": "can not",
    "cannot": "can not",
    "freespace": "free space",
    "freespot": "free spot",
    "wanna": "want to",
    "gonna": "going to",
    "pls": "please",
    "plz": "please",
    "midway": "halfway",
}
