import { type Backend, tensor } from '@topk-attention/core';
import type { Rows } from '../data/rows.js';
import type { TaskName } from '../tasks/task.js';
import type { Documents } from './classifier.js';
import type { Part } from './parts.js';
import type { ModelSettings } from './settings.js';

/** A batch as plain arrays: documents one after the other, first documents of all examples before the second ones. */
export interface Batch {
  readonly examples: number;
  readonly tokens: number;
  readonly ids: Int32Array;
  readonly lengths: Int32Array;
  /** Set if tokens that count were moved to the front. */
  readonly places?: Int32Array;
  readonly labels: Int32Array;
}

/** The batch of some rows. */
export function batchOf(
  task: TaskName,
  rows: Rows,
  { indices, tokens }: Part,
  settings: ModelSettings,
): Batch {
  const { zeroPixel } = settings;
  const { parts } = rows;
  const count = indices.length * parts;
  const ids = new Int32Array(count * tokens);
  const lengths = new Int32Array(count);
  const places = zeroPixel === 'masked' ? new Int32Array(count * tokens) : undefined;
  // ListOps stores ids; bytes and shifted pixels begin at id 1.
  const shift = task === 'listops' || zeroPixel === 'masked' ? 0 : 1;
  for (let part = 0; part < parts; part++) {
    for (const [at, row] of indices.entries()) {
      const document = rows.document(row, part).subarray(0, settings.tokens);
      const slot = part * indices.length + at;
      const own = ids.subarray(slot * tokens, (slot + 1) * tokens);
      if (places === undefined) {
        for (const [place, symbol] of document.entries()) own[place] = symbol + shift;
        lengths[slot] = document.length;
      } else {
        lengths[slot] = visibleFirst(document, own, places.subarray(slot * tokens, (slot + 1) * tokens));
      }
    }
  }
  return {
    examples: indices.length,
    tokens,
    ids,
    lengths,
    ...(places && { places }),
    labels: Int32Array.from(indices, (row) => rows.label(row)),
  };
}

/** Tokens of a document that count. */
export function visibleTokens(document: Uint8Array, { tokens, zeroPixel }: ModelSettings): number {
  if (zeroPixel !== 'masked') return Math.min(document.length, tokens);
  return document.reduce((count, level) => count + (level === 0 ? 0 : 1), 0);
}

/**
 * Pixels that are not black, then the black ones, and where each stood. Returns the number of the former; of the latter,
 * those that do not fit are left out.
 */
function visibleFirst(pixels: Uint8Array, ids: Int32Array, places: Int32Array): number {
  let visible = 0;
  let hidden = pixels.length - 1;
  for (const [place, level] of pixels.entries()) {
    const to = level === 0 ? hidden-- : visible++;
    if (to >= ids.length) continue;
    ids[to] = level;
    places[to] = place;
  }
  return visible;
}

/** The documents of a batch on a backend. */
export function documentsOf(backend: Backend, { tokens, ids, lengths, places }: Batch): Documents {
  const shape = [lengths.length, tokens];
  return {
    ids: tensor(backend, ids, shape),
    lengths: tensor(backend, lengths, [lengths.length]),
    ...(places && { places: tensor(backend, places, shape) }),
  };
}
