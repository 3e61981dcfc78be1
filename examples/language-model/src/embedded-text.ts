/** Enough text to try the commands in seconds. It is of this project, and in the public domain. */
export const embeddedText: string = `The lighthouse keeper had three lamps and one rule.
The first lamp was for the ships that came home.
The second lamp was for the ships that went away.
The third lamp was for the keeper, who read by it at night.
The rule was short: look at everything, and remember what matters.

In the morning the keeper looked at the sea.
A hundred waves came in, and the keeper remembered one of them.
A hundred birds flew by, and the keeper remembered two of them.
A hundred clouds went over, and the keeper remembered the dark one.
"Why do you look at all of them," said the boy, "if you keep so few?"
"I do not know which ones matter," said the keeper, "until I have looked."

In the evening the boy sat by the second lamp.
He looked at all the stars, and he remembered three of them.
One was over the harbour, one was over the hill, and one was over the sea.
"Three are enough," said the boy. "With three stars I find the way home."
"And which three?" said the keeper.
"The bright ones," said the boy. "The others are there, but they do not change the way."

In the winter the storm came and the sea was white.
A hundred waves came in, and the ship that went away came home.
The boy lit the first lamp, and the keeper lit the second lamp.
"Look at everything," said the keeper.
"And remember what matters," said the boy.
The ship saw the lamps, and the ship came in by the harbour.

In the spring the keeper was old, and the boy was the keeper.
He had three lamps and one rule.
The first lamp was for the ships that came home.
The second lamp was for the ships that went away.
The third lamp was for the boy who came up the stairs and said:
"Why do you look at all of them, if you keep so few?"
`;
