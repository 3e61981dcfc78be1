/**
 * A part of a text of at most about `characters`, whole paragraphs in their order, around the paragraph that has most in
 * common with the question: likely the one that answers it.
 */
export function passageAbout(text: string, question: string, characters: number): string {
  const paragraphs = text.split(/\n\s*\n/).filter((paragraph) => paragraph.trim() !== '');
  const words = paragraphs.map(wordsOf);
  // The fewer paragraphs contain a word, the more it tells.
  const asked = [...wordsOf(question)].map((word) => ({
    word,
    weight: 1 / words.filter((own) => own.has(word)).length,
  }));
  const likeness = words.map((own) =>
    asked.reduce((sum, { word, weight }) => (own.has(word) ? sum + weight : sum), 0),
  );
  let first = likeness.indexOf(Math.max(...likeness));
  let end = first + 1;
  let left = characters - (paragraphs[first]?.length ?? 0);
  /** Whether the paragraph exists and fits; its length is then taken off the room left. */
  const take = (paragraph: string | undefined): boolean => {
    if (paragraph === undefined || paragraph.length > left) return false;
    left -= paragraph.length;
    return true;
  };
  for (let isGrowing = true; isGrowing; ) {
    const hasBefore = take(paragraphs[first - 1]);
    if (hasBefore) first--;
    const hasAfter = take(paragraphs[end]);
    if (hasAfter) end++;
    isGrowing = hasBefore || hasAfter;
  }
  return paragraphs.slice(first, end).join('\n\n');
}

function wordsOf(text: string): Set<string> {
  return new Set(text.toLowerCase().match(/\p{L}+/gu));
}
