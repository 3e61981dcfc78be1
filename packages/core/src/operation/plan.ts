import type { PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import { aValue, type OptionKind } from '../tensor/read-options.js';
import type { Chunks, PassBytes } from './define.js';
import { doesNotFit, largestChunk } from './fit.js';

/** Bytes of each part of a call. */
export interface PlannedBytes {
  /** The caller's tensors; in the backward pass, also the output's gradient. */
  readonly inputs: number;
  /** What the call returns; for the backward pass, the gradients. */
  readonly output: number;
  /** What the forward pass keeps for the backward pass: 8 k bytes per query and head. */
  readonly saved: number;
  /** Peak transient bytes of one chunk. */
  readonly scratch: number;
  /** All but the inputs. */
  readonly total: number;
}

export interface Plan {
  readonly chunk: number;
  readonly chunks: number;
  readonly bytes: PlannedBytes;
}

/** The caller's wishes. */
export interface Wishes {
  /** The caller's own chunk; the plan then only counts its bytes. */
  readonly chunk?: number | undefined;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number | undefined;
}

/** What a path needs, as `Prepared` and `ComposedPass` report it. */
export type PathNeeds = PreparedBytes & { joiningBytes?(chunk: number): number };

/** An object that says what a path needs. */
export const aPath: OptionKind<PreparedBytes> = aValue(
  'an object with scratchBytes',
  (value) => typeof value === 'object' && value !== null && 'scratchBytes' in value,
);

/** The part of an operation's declaration that planning uses. */
interface Planned<Request> {
  readonly title: string;
  readonly chunks?: Chunks<Request>;
  readonly forward: { bytes(request: Request, limits: DeviceLimits): PassBytes };
  readonly backward?: { bytes(request: Request, limits: DeviceLimits): PassBytes };
}

/**
 * Chunk and bytes of one pass over a path, from shapes and limits alone: needs no device. `heldBytes` is what the
 * engine keeps from another pass meanwhile; it counts as scratch.
 *
 * @throws TopKError DOES_NOT_FIT, before anything is allocated, when the smallest chunk exceeds the budget or one tensor
 * exceeds the largest buffer.
 */
export function planPass<Request extends { readonly saves?: boolean }>(
  { title, chunks, ...passes }: Planned<Request>,
  pass: 'forward' | 'backward',
  request: Request,
  path: PathNeeds,
  limits: DeviceLimits,
  { chunk: asked, budgetBytes = Number.POSITIVE_INFINITY }: Wishes,
  heldBytes = 0,
): Plan {
  const bytes = (passes[pass] ?? passes.forward).bytes(request, limits);
  const share = pass === 'forward' ? shareOf(request.saves === true, limits) : 1;
  const { inputs, output, saved, largest = 0 } = bytes;
  const scratchOf = (chunk: number): number =>
    heldBytes + Math.max(path.scratchBytes(chunk), path.joiningBytes?.(chunk) ?? 0);
  const largestOf = (chunk: number): number => Math.max(largest, path.largestBytes?.(chunk) ?? 0);
  const neededBy = (chunk: number): number => output + saved + share * scratchOf(chunk);
  const isBindable = (chunk: number): boolean => largestOf(chunk) <= limits.maxBufferBytes;
  const fits = (chunk: number): boolean =>
    neededBy(chunk) <= Math.min(budgetBytes, Number.MAX_SAFE_INTEGER) && isBindable(chunk);

  const length = chunks?.length(request) ?? 1;
  const search = (does: typeof fits): number =>
    asked ?? (chunks ? largestChunk(chunks.range(request, limits), path, does) : 1);
  const chunk = Math.min(search(fits), Math.max(length, 1));
  if (!fits(chunk)) {
    const where = pass === 'forward' ? title : `${title}.backward`;
    const remedy = chunk > 1 ? `a smaller ${chunks?.option}` : chunks?.remedy;
    // The budget with which the same search would have ended: where each chunk has a cost of its own, the smallest chunk
    // needs more than others.
    let needed = neededBy(chunk);
    search((tried) => {
      if (isBindable(tried)) needed = Math.min(needed, neededBy(tried));
      return fits(tried);
    });
    throw doesNotFit(where, needed, budgetBytes, largestOf(chunk), limits, [
      ...(remedy === undefined ? [] : [remedy]),
      ...(saved > 0 ? ['a smaller k'] : []),
    ]);
  }
  const scratch = scratchOf(chunk);
  return {
    chunk,
    chunks: Math.ceil(length / chunk),
    bytes: { inputs, output, saved, scratch, total: output + saved + scratch },
  };
}

/**
 * The forward pass's share of a budget, as its inverse: if the engine keeps its scratch, a training call leaves most of
 * the budget to the backward pass, which needs several times as much per chunk.
 */
function shareOf(saves: boolean, limits: DeviceLimits): 1 | 4 {
  return saves && limits.keepsScratch === true ? 4 : 1;
}
