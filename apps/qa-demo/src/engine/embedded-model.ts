/** Words of bAbI's questions, in all 20 tasks. */
const WORDS = new Set(
  (
    'above afraid antoine apple bathroom bedroom before below bernhard bigger bill blue box brian carrying chest chocolate ' +
    'chocolates cinema color container daniel did do does east emily fit football fred from garden gave gertrude get give go ' +
    'greg hallway how in is jason jeff jessica john julie julius kitchen left lily many mary milk north objects of office ' +
    'pajamas park pink received rectangle red right sandra school south sphere square suitcase sumit than the to triangle was ' +
    'west what where who why will winona yann yellow you'
  ).split(' '),
);

/**
 * Words of a question that the bundled model never saw in a question; a title such as `In the red notebook,` may be
 * any.
 */
export function unfamiliarWords(question: string): readonly string[] {
  const untitled = question.toLowerCase().replace(/^\s*in the \w+ \w+,/, '');
  return [...new Set(untitled.match(/\p{L}+/gu))].filter((word) => !WORDS.has(word));
}
