/** Where Python's split() splits: Unicode white space and U+001C to U+001F, but not U+FEFF, which JavaScript counts as space. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the four separators are intended
const SPACE = /[\p{White_Space}\u001c-\u001f]+/u;

/** The normal form in which SQuAD 1.1 compares answers: lower case, no ASCII punctuation, no articles, single spaces. */
export function normalizeAnswer(text: string): string {
  return text
    .toLowerCase()
    .replace(/[!-/:-@[-`{-~]/g, '')
    .replace(/(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu, ' ')
    .split(SPACE)
    .filter((word) => word !== '')
    .join(' ');
}

/** 1 when the normalised strings are equal, else 0; the best over all gold answers. */
export function exactMatch(prediction: string, answers: readonly string[]): number {
  const normal = normalizeAnswer(prediction);
  return answers.some((answer) => normalizeAnswer(answer) === normal) ? 1 : 0;
}

/**
 * Overlap of the normalised words with multiplicity, 2pr / (p + r); the best over all gold answers. No common word
 * gives 0, even between two empty strings (as in SQuAD's script).
 */
export function f1Score(prediction: string, answers: readonly string[]): number {
  const words = wordsOf(prediction);
  return Math.max(0, ...answers.map((answer) => wordF1(words, wordsOf(answer))));
}

export interface QuestionScore {
  readonly exactMatch: number;
  readonly f1: number;
}

/** Both scores of one question. */
export function scoreAnswer(prediction: string, answers: readonly string[]): QuestionScore {
  return { exactMatch: exactMatch(prediction, answers), f1: f1Score(prediction, answers) };
}

function wordsOf(text: string): readonly string[] {
  const normal = normalizeAnswer(text);
  return normal === '' ? [] : normal.split(' ');
}

function wordF1(predicted: readonly string[], gold: readonly string[]): number {
  const left = new Map<string, number>();
  for (const word of gold) left.set(word, (left.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of predicted) {
    const count = left.get(word) ?? 0;
    if (count === 0) continue;
    left.set(word, count - 1);
    common++;
  }
  if (common === 0) return 0;
  const precision = common / predicted.length;
  const recall = common / gold.length;
  return (2 * precision * recall) / (precision + recall);
}
