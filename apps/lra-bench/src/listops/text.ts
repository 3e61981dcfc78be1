import { applyOperator, CLOSE, FIRST_OPERATOR, type Operator, operators, words, ZERO } from './vocabulary.js';

const idOf: ReadonlyMap<string, number> = new Map(words.map((word, at) => [word, at + 1]));

/** Why a text is no expression: thrown by `idsOfText` and `valueOf`, and turned into an error with file and line. */
export class NotAnExpression extends Error {}

/** The ids of an expression's words. Parentheses are dropped: brackets already say what belongs together. */
export function idsOfText(text: string): Uint8Array {
  const ids: number[] = [];
  for (const word of text.split(' ')) {
    if (word === '(' || word === ')' || word === '') continue;
    const id = idOf.get(word);
    if (id === undefined) throw new NotAnExpression(`the word '${word.slice(0, 20)}'`);
    ids.push(id);
  }
  return Uint8Array.from(ids);
}

interface Open {
  readonly operator: Operator;
  readonly values: number[];
}

/** The value of an expression, from its ids alone. */
export function valueOf(ids: Uint8Array): number {
  const open: Open[] = [];
  for (const [at, id] of ids.entries()) {
    let value: number;
    if (id >= FIRST_OPERATOR && id < CLOSE) {
      open.push({ operator: operators[id - FIRST_OPERATOR] as Operator, values: [] });
      continue;
    }
    if (id === CLOSE) {
      const done = open.pop();
      if (done === undefined || done.values.length === 0) throw new NotAnExpression(`']' as word ${at + 1}`);
      value = applyOperator(done.operator, done.values);
    } else {
      value = id - ZERO;
    }
    const around = open.at(-1);
    if (around !== undefined) around.values.push(value);
    else if (at === ids.length - 1) return value;
    else throw new NotAnExpression(`words after the end, word ${at + 2}`);
  }
  throw new NotAnExpression(ids.length === 0 ? 'nothing' : `${open.length} brackets left open`);
}

/** An expression as the published files write it: every operator applied to one argument at a time, in parentheses. */
export function textOf(ids: Uint8Array): string {
  const open: string[][] = [];
  for (const id of ids) {
    const word = words[id - 1] as string;
    if (id >= FIRST_OPERATOR && id < CLOSE) {
      open.push([word]);
      continue;
    }
    let text = word;
    if (id === CLOSE) {
      const [operator, ...parts] = open.pop() as string[];
      text = `${'( '.repeat(parts.length + 1)}${operator} ${parts.map((part) => `${part} )`).join(' ')} ] )`;
    }
    const around = open.at(-1);
    if (around === undefined) return text;
    around.push(text);
  }
  throw new NotAnExpression(`${open.length} brackets left open`);
}

/** Deepest nesting of an expression: 1 for a digit. */
export function depthOf(ids: Uint8Array): number {
  let depth = 1;
  let deepest = 1;
  for (const id of ids) {
    if (id >= FIRST_OPERATOR && id < CLOSE) deepest = Math.max(deepest, ++depth);
    else if (id === CLOSE) depth--;
  }
  return deepest;
}
