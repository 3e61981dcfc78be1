import { type Shape, sizeOf } from '@topk-attention/core';
import type { AdafactorRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import { windowsOf } from '../windows.js';
import { sumWords } from './adafactor-averages.js';

/** Words of the buffer that parameters and averages share: 64 MiB. A choice; a larger parameter has its own. */
const BOOK_WORDS = 2 ** 24;

/** A parameter, and where what it is replaced by lies in the book, in words. */
export interface Member {
  readonly index: number;
  readonly rows: number;
  /** 0 for a vector: its rows have one element each. */
  readonly width: number;
  readonly place: number;
  readonly rowPlace: number;
  readonly columnPlace: number;
  readonly averagePlace: number;
  /** Where its sums begin in the scratch. */
  readonly base: number;
}

/** Parameters that are replaced by windows of one buffer. */
export interface Book {
  readonly members: readonly Member[];
  readonly roles: readonly string[];
  readonly shapes: readonly Shape[];
  /** Words of the sums of rows and columns. */
  readonly sums: number;
}

type Slots = readonly (readonly [slot: string, shape: Shape])[];

/** A parameter and its averages, in the order of their windows. */
function slotsOf(shape: Shape, { beta1 }: AdafactorRequest): Slots {
  const [rows = 1, width = 1] = shape;
  const averages: Slots =
    shape.length === 2
      ? [
          ['exp_avg_sq_row', [rows]],
          ['exp_avg_sq_col', [width]],
        ]
      : [['exp_avg_sq', shape]];
  return [['parameter', shape], ...averages, ...(beta1 === undefined ? [] : ([['exp_avg', shape]] as const))];
}

/** Words of a parameter and its averages, in windows of one buffer. */
export function bookWords(shape: Shape, request: AdafactorRequest): number {
  return windowsOf(slotsOf(shape, request).map(([, own]) => sizeOf(own))).words;
}

/** Puts parameters together in buffers that a device binds whole. */
export function booksOf(request: AdafactorRequest, { bindingBytes }: DeviceFacts): readonly Book[] {
  const { shapes } = request;
  const most = Math.min(BOOK_WORDS, Math.floor(bindingBytes / 4));
  const lists: number[][] = [];
  let filled = Number.POSITIVE_INFINITY;
  for (const index of shapes.keys()) {
    const words = bookWords(shapes[index] as Shape, request);
    if (filled + words > most) {
      lists.push([]);
      filled = 0;
    }
    lists.at(-1)?.push(index);
    filled += words;
  }
  return lists.map((list) => {
    const slots = list.map((index) => slotsOf(shapes[index] as Shape, request));
    const all = slots.flat().map(([, shape]) => shape);
    const { places } = windowsOf(all.map(sizeOf));
    let [next, sums] = [0, 0];
    const members = list.map((index, at): Member => {
      const shape = shapes[index] as Shape;
      const [rows = 1, width = 0] = shape;
      const own = (slots[at] as Slots).map(() => places[next++] as number);
      const base = sums;
      sums += sumWords(rows, width);
      const [place = 0, rowPlace = 0, columnPlace = 0] = own;
      return { index, rows, width, place, rowPlace, columnPlace, averagePlace: own.at(-1) ?? 0, base };
    });
    const roles = list.flatMap((index, at) => (slots[at] as Slots).map(([slot]) => `${index}:${slot}`));
    return { members, roles, shapes: all, sums };
  });
}
