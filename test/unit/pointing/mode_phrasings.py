# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Instructions and what they ask for, as an English speaker reads them."""

from __future__ import annotations

#: a free spot to put something on
PLACES = """
the free space left of the red mug
point out the free spot behind the blue box
place it on the empty space between the green ball and the plate
Find the empty space right of the cone.
Please point to the free spot in front of the plate.
Please point out the free space between the white mug and the black computer mouse.
Please point out the free space on the white table at center.
Please point out the empty area to the right of the leftmost stool.
Please point out the free space in front of the blue object.
Please point out the free space on the second shelf of the wooden shelf.
Please point out the free space on the floor between the chair with a bag on it and the left stool.
Please point out the free space in the direction that the logo of the bottle faces.
Please point out the vacant area on the second shelf from the top
Point to the free area between the farthest apple and pink cake.
Point to the free area between the black vehicle on the right and the white sedan in front of it.
In the image, there is a bowl. Pinpoint several points within the vacant space left of it.
Identify several spots within the vacant space that's between the two mugs.
Locate several points within the vacant area that is situated to the right of the bottle
Locate an available area on the desk.
Identify an open space on the shelf.
Where is there free space on the counter?
put it next to the plate
set it down next to the plate
Set the mug down.
put the mug down here
Place it there.
place the cup between the plate and the bowl
PLACE THE CUP BETWEEN THE PLATE AND THE BOWL!!!
put   the cup , next to the plate
Please, could you put the cup to the left of the laptop?
Could you please set the bottle on the tray
would you mind putting the spoon beside the fork?
I'd like you to put the apple in the bowl.
I want to put the mug down somewhere near the kettle
drop the can into the bin
Drop it off at the edge of the table
lay the book on the shelf
stand the bottle next to the lamp
leave the keys on the counter
move the mug to the left of the plate
move the cup next to the bowl
slide the box between the two mugs
stack the red cube on the blue one
return the book to the shelf
put the cup that stands in front of the box on the tray
put the cup that is next to the box behind the plate
put the cup I gave you beside the bowl
put the mug with the red handle in the sink
put the mug away from the edge
place next to the plate
put on the table
where could the bowl go
Where can I put the mug?
where should the cup be placed?
Where would a plate fit?
where does the mug go
Where do the forks belong?
where to put the mug
show me where to put the mug
Tell me where the bowl could go.
show me where I can set this down
Where is there room for a plate?
where is the free spot
where on the table is nothing
Where's an empty spot for the bowl?
where can I find a free spot
between the mug and the bowl
next to the plate
left of the box
to the right of the red cube
in front of the mug
on the tray
on top of the box
somewhere next to the plate
anywhere free on the table
the space between the two boxes
the gap between the books
the spot next to the kettle
a place for the mug
a place to put the mug
find a place to put the cup
find somewhere to put the cup
find room for the bowl
I need a spot for the plate
the empty spot
an open area on the table
the unoccupied region near the wall
any vacant place on the shelf
the free parking spot
the empty parking space next to the red car
the drop zone
place it in the drop zone
the area left of the plate
the area where nothing stands
the part of the table that is empty
the free part of the table
the uncluttered corner of the desk
a spot that is free
a spot which is not occupied
the middle of the free space
a point in the empty area between the two cups
a point between the mug and the bowl
the center of the gap between the boxes
Which spot is free?
which part of the table is empty
Is there a free spot next to the bowl?
is there any room left of the plate
What is the best place for the mug?
pick a free spot on the table
pick the empty area beside the plate
choose an empty spot
use the free space on the left to place the cup
point between the two cups
point in front of the mug
point to the left of the plate
Next to the plate, put the mug.
Hey robot, put the mug beside the bowl
robot: place it on the table
I am holding a mug. Where can I put it?
There is a mug in your hand. Put it next to the plate.
don't put it on the plate, put it on the tray
the mug should go next to the plate
The bowl belongs on the shelf.
the free-space between the cups
FREE SPACE LEFT OF THE MUG
Free spot, please!
the largest free area on the table
the biggest empty space between objects
the free spot on the left side of the box
the free space inside the drawer
look at the table and find a free spot
Look at the picture. Where is an empty area?
put it where the bowl is
put the mug back on the shelf
place it on the placemat
place it on the left
the vacant slot in the rack
a clear spot on the desk
an available spot beside the monitor
some space next to the keyboard
some empty space
the spot between the cup and the spacebar
the free area of the table
the free space where the cup could go
an area with no objects
the region of free space behind the mug
the spot on the table left of the plate
a location to the left of the bowl
hang the towel over the chair
put the mug between the plate and the place card
insert the book between the other two
rest the spoon on the plate
go to the free spot next to the door
Can the bowl go next to the plate?
does the bowl fit between the boxes
what would be a good spot for the lamp
the emptiest area of the table
put that cup over there
put this here
position the cup so that it stands left of the plate
Now place the lid on the pot.
Then, put it on the shelf.
kindly deposit the box on the pallet
I would like to put the cup on the table
Let's put it on the shelf.
Kindly set the tray down on the left-hand side.
Would you be so kind as to place the fork beside the knife?
Where could I set down this box?
What's a good place to drop the parcel?
Any spot where the cup would fit
is there somewhere to put the mug
place the bottle upright between the boxes
put everything on the tray
put both cups on the shelf
put one of the mugs on the tray
put all the red blocks into the bowl
Put the kettle back on its base.
put the lid on the pot
arrange the cups on the tray
the vacant region on the right of the microwave
show the unoccupied area of the counter
highlight the open space in front of the sofa
please mark a free place for the vase
Find me an empty spot on the shelf, please.
find an unoccupied region on the table between the apple and the banana
which place on the table is not occupied
Where is the table empty?
where is it free
In which spot could the vase stand?
In the area between the two plates, put the cup.
On the left of the plate, place the fork
to the left of the plate
the area to the left of the plate
the region between the keyboard and the monitor
left of the mug, please
right next to the bowl
just behind the box
directly in front of the cup
a bit to the left of the mug
5 cm left of the mug
halfway between the cup and the plate
in the middle of the table
at the center of the tray
the empty space in the drawer
the empty spot in the egg carton
a free seat spot
an empty shelf space
some room on the desk
the nearest free space
the leftmost empty area
the second free spot from the left
the free place nearest to the camera
the open spot closest to the sink
release the cup above the bin
let go of the cup over the box
the spot for the mug
the place for the fork
the location where the lamp should go
the point where I can put the cup
put it somewhere free
find where to place the box
decide where the cup should be put
can you find a place where I can put my coffee?
I am looking for a place to put my cup
I need somewhere to put the bag
we want to put the vase on the table; where is space?
Set the plate in front of the man
set plate next to mug
place mug left of plate
put apple in bowl
drop box in bin
leave it on the desk
put the mug, the one with the red handle, on the tray
Put the mug which you are holding next to the bowl
Put the object in your hand on the table
place the held object to the right of the box
place the grasped cube between the cups
safe place to put the glass
suitable area for placing the pan
an area for placing the pan
points in the free area
one point in the vacant area left of the box
the center point of the free space
spot where there is no object
the surface with nothing on it
the space that has no objects
part of the desk without anything on it
the area free of clutter
the unobstructed floor area
the clear floor space in front of the robot
drive to the open area
navigate to the empty space next to the couch
park the car in the free spot
park in the empty parking spot
the parking space
the loading zone
free spot between mug & plate
Free space; between the mug and the plate.
the Free Space, left of Mug
FREE SPOT
vacant spot?
The cup goes to the left of the plate
The plate is to be placed on the table
The cup must be put between the plates
The vase can stand on the shelf
where in the fridge does the milk go
where on the shelf can I put it
where should this go?
where should i place it
Where do you want me to put it?
Where would you put the lamp?
where can it be put down
where is the best place for the cup
where is a place to put the cup
show me a place to put it down
point at an empty space
point to somewhere empty
point to where the mug should go
point at a location between the cups
identify the spot where the bowl can be placed
tell me which spot is empty
locate free space
detect free space on the table
locate the placement area
the placement location left of the cup
the place between the cups
the position left of the cup
the position between the cups
place this on top of the red box
stack it on top of the box
pile the books on the chair
toss the ball into the basket
throw the paper in the bin
move it to the free space
move the mug over there
move that onto the tray
relocate the cup to the empty area
transfer the apple to the plate
shift the box next to the wall
hang the coat on the hook
Place the mug - carefully - on the tray.
put it on the shelf that is above the sink
put it in the box left of the plate
put the cup on the plate that is away from the window
put the cup on the plate farthest away
put down the cup
put down the mug next to the plate
lay down the book
lay it flat on the table
place a cup here
place one cup on each plate
add a spoon to the right of the plate
position the camera behind the box
set the table cloth on the table
set the alarm clock on the nightstand
"""

#: a thing
THINGS = """
the red mug
Point to the blue box.
point out the ball nearest to the camera
Pick up the cone.
pick the green cylinder left of the plate
Locate the second object from the left.
Please point to the leftmost object.
grasp the mug between the red box and the plate
the object on the left of the bowl
the cone farthest away
the ball closest to the plate
Please point out the orange box closest to the drum.
Please point out the closest red box to the blue box.
Please point out the second closest cup to the viewer.
Please point out the stool which is farthest from the white table.
Pick the apple in front of the logo side of the leftmost cup.
Point out the apple nearest to the second cup from left to right.
Point out the third car from right to left.
Please point to the third mug behind the lamp.
the cup between the two boxes
the cup in front of the free space
the box on the left side of the free space
the mug next to the empty spot
put the cup that stands in front of the box away
put away the mug
put the mug away
Please put the cup in front of the box away.
put the toys away, please
set the mug aside
put the mug
the spacebar
the space bar
press the space bar
the space key of the keyboard
the placemat
the place mat
place mat
the place card
place card
the place card next to the glass
the place setting on the right
the area rug
the space shuttle
the space heater
the fireplace
the spotlight
the spot lamp
the empty cup
the empty bowl next to the plate
the open box
the clear glass
the free-standing lamp
the open drawer
an empty chair
the vacant chair
the left mug
left mug
the right hand
the rightmost cup
the mug on the left
the mug on the table
the cup to the left of the plate
the mug placed next to the bowl
the box standing between the cups
the cup put on the tray
the book left on the table
the cup set on the plate
take the mug
Take the mug next to the plate.
bring me the mug
bring me the cup from the table
fetch the bottle behind the box
could you hand me the spoon?
Can you give me the cup next to the bowl?
I want the red mug
I need the scissors
I'm looking for my keys
find my keys
find the cup next to the free space
show me the mug
show me where the mug is
Where is the mug?
where are the scissors
Where does the mug stand?
where is the cup placed?
Where did I put the mug?
where have you put the keys
where can I find the mug
where is the cup that is empty
where is the set of keys
what is next to the plate
What is between the two cups?
which mug is closest to the plate
which cup should I put next to the plate?
what stands left of the box
open the drawer
Open the box on the left.
close the lid
clear the table
empty the cup
push the box to the left
turn the knob
remove the lid from the pot
lift the box from the pallet
pick up the mug from the free space
pick up the mug in the free area
take the cup out of the box
get the ball off the table
grab the thing on top of the box
the set of keys
the rest of the apples
a drop of water
the location of the mug
the position of the cup
the place where the mug stands
the spot where the mug is
the spot occupied by the mug
the space taken up by the box
the occupied spot
the red area
the dark spot on the banana
the wet spot on the table
the handle of the mug
the middle of the plate
the left side of the box
the corner of the box
a point on the mug
the edge of the table
the top of the box
the mug, pick it up
There is a mug on the table. Pick it up.
is there a mug on the table
do you see the mug
the object left of the space bar
the mug in the middle
the cup with no handle
the table
the shelf
the mug that should be placed on the tray
the cup you put on the table
Which cup stands in the free space?
don't take the plate, take the mug
Before you set it down, point to the mug
the person standing in the open area
the car parked in the parking spot
the car between the free parking spots
the parking meter
the position marker
the place name sign
the region map
the Free Space poster
the room key
the living room table
the zone label
the gap filler tube
der rote Becher
xyzzy
42
the thing closest to the empty area
the tool to tighten screws
the lid that goes on the pot
clean the table
wipe the spot
the mug to the right of the empty bowl
Point at the mug to the left of the plate
Point to the left mug
look at the mug
the cushion on the free seat
pour water into the glass
Please locate the item that is placed on the tray.
the second one from the left
the one on the left
the left one
something to drink
an object to stand on
all the cups on the tray
the empty one
the plate with free space on it
the shelf with the empty spot
the robot in the open area
the bottle placed in front of the free area
the cup that is standing in the empty space
pick the cup in the middle of the free space
take the box off the empty shelf
take away the mug
carry the mug
hand me the placemat
where's the placemat
where is the place card
where is the spacebar
find the space bar
find the drop-off sign
the vacuum cleaner
the opener
the free sample on the counter
the open book
the open bottle
the empty glass on the left
the empty box
the clear bottle
the blank sheet of paper
the spare tire
the spare key
the available taxi
the unused cup
the bare foot
pick up the empty can
throw away the can
throw the can away
put the milk away
put the dishes away please
put aside the book
pack up the tools
put the cup that is in front of the box away
put away the cup that stands in front of the box
put the cup standing on the tray away
set the table
store the milk
place the mug
the place-name card
point to it
it
mug
a red cup
red
leftmost
nearest
the second from the left
third from right
second cup from left to right
the object in the corner
the object at the edge of the table
the object between the mug and the empty spot
the tallest object on the table
the thing on the free area
the bottle near the empty space
something red
anything edible
what is on the table?
What can I use to open the bottle?
what should I put next to the plate
What is the object left of the free space?
Which object is next to the free space
Who sits in the chair
which of the cups is empty
which cup is empty
which one is free
where is the cup
Where is my cup?
where are you
where is the free-standing sign
where is the object that was placed on the table
Where's the cup I put down?
where does the cat sit
where can I get the mug
where can I grab the pot
where to grasp the mug
where should I grasp the cup
where should I hold the hammer
show me the mug in the free space
tell me where the mug is
find the mug where the free space ends
locate the mug on the shelf next to the open space
point to the mug between the plates
point to the mug that you put on the table
point to the place mat
press the button on the left
push the chair under the table
pull out the drawer
slide the drawer open
open the door to the left of the fridge
close the box on the table
switch on the lamp
turn on the light on the left
unplug the lamp next to the free outlet
wipe the table
water the plant on the shelf
follow the person
go to the mug
move to the mug
move toward the table
approach the red chair
drive to the chair
move the mug
move it
move the cup away
move the mug to the left
rotate the cup
lift the lid of the pot
lift it
hold the mug
hold the cup by the handle
grab the handle on the left
give me the object on the right side
give it to me
pass me the salt, please
hand over the cup
let me have the cup on the left
could I have the mug next to the plate
may I have the apple
I would like the apple in front of the bowl
I'd like the cup on the left of the plate
I want the cup between the plates
get me something from the shelf
fetch me a cup from the free table
get the cup that I put on the table
clean up the spill
collect all the cups on the table
pick one of the cups
pick the one next to the plate
choose the larger cup
select the cup to the right of the plate
select the second drawer
the drawer below the open one
the box with the free space sticker
a parking ticket
the position of the red car
the location of the nearest exit
the spot light above the table
the room divider
the zone marker
the corner shelf
the side table
the end table
the middle drawer
the center piece
the middle cup
the left part of the keyboard
the upper half of the bottle
the surface of the ball
the bottom of the cup
the tip of the pen
the part of the mug that is red
the section of the pipe that is rusty
the stand
the mug stand
the rest
the drop of paint
the set
the set of knives on the counter
the hanging lamp
the standing lamp
the parking car
the resting dog
the setting sun
the store sign
the lay figure
the keep
the leaves of the plant
not the free space, the mug
ignore the free space and point to the mug
the person on the left of the open space
person standing next to the empty chair
cup between two boxes
box left of mug
mug on table
"""

#: two actions: what the first is about
TWO_STEPS = {
    "take the mug and put it beside the bowl": "thing",
    "Pick up the mug, then place it on the plate.": "thing",
    "pick up the red cup and place it in the free space left of the plate": "thing",
    "Grab the cup. Put it next to the plate.": "thing",
    "find the mug and put it next to the plate": "thing",
    "pick and place the mug onto the tray": "thing",
    "please take the cup and then set it down on the table": "thing",
    "take the mug to the sink": "thing",
    "put the mug beside the bowl and pick up the ball": "place",
    "place the mug on the tray, then grab the plate": "place",
    "pick up the mug and pick up the ball": "thing",
    "grab the cup so that you can put it on the shelf": "thing",
    "remove the lid and put the spoon in the pot": "thing",
    "pick up the box, move to the table and set it down": "thing",
    "bring the cup to the table": "thing",
}

#: one action, although a second verb is there
ONE_STEP = """
find the mug and pick it up
grasp the mug and lift it
find a free spot and put the mug there
take the mug
the cup between the mug and the plate
Look at the table and find a free spot
put it on the tray
bring me the mug
take the mug off the table
I am holding a mug. Where can I put it?
put the mug between the plate and the bowl
There is a mug on the table. Pick it up.
don't put it on the plate, put it on the tray
"""


def lines(text: str) -> list[str]:
    """The instructions of a table."""
    return [line for line in text.strip().splitlines() if line]
