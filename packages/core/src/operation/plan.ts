import type { PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import { aValue, type OptionKind } from '../tensor/read-options.js';
import type { Chunks, PassBytes } from './define.js';
import { doesNotFit, largestChunk } from './fit.js';

/** Bytes of each part of a call. */
export interface PlannedBytes {
  /** The caller's tensors: in the backward pass, the gradient of the output too. */
  readonly inputs: number;
  /** Of the backward pass: the gradients that it returns. */
  readonly output: number;
  /** What the forward pass keeps for the backward pass: 8 k bytes per query and head. */
  readonly saved: number;
  /** Transient, at the worst moment of one chunk. */
  readonly scratch: number;
  /** All but the inputs. */
  readonly total: number;
}

export interface Plan {
  readonly chunk: number;
  readonly chunks: number;
  readonly bytes: PlannedBytes;
}

/** Of the caller. */
export interface Wishes {
  /** His own chunk; the plan then only counts its bytes. */
  readonly chunk?: number | undefined;
  /** Upper bound for everything but the inputs. Default: none. */
  readonly budgetBytes?: number | undefined;
}

/** What a path needs: `Prepared` and `ComposedPass` say it. */
type PathNeeds = PreparedBytes & { joiningBytes?(chunk: number): number };

/** An object that says what a path needs. */
export const aPath: OptionKind<PreparedBytes> = aValue(
  'an object with scratchBytes',
  (value) => typeof value === 'object' && value !== null && 'scratchBytes' in value,
);

interface Pass<Request> {
  /** In errors. */
  readonly title: string;
  readonly request: Request;
  readonly chunks: Chunks<Request> | undefined;
  readonly bytes: PassBytes;
  readonly path: PathNeeds;
  /** What the engine keeps of another pass meanwhile; counted as scratch. */
  readonly heldBytes?: number;
  /** What the scratch is counted as against the budget, as a multiple; see `shareOf`. */
  readonly share?: number;
}

/**
 * Chunk and bytes of one pass over a path, from shapes and limits alone: no device is asked.
 *
 * @throws TopKError DOES_NOT_FIT, before anything is allocated, when the smallest chunk exceeds the budget or one tensor
 * exceeds the largest buffer.
 */
export function planPass<Request>(pass: Pass<Request>, limits: DeviceLimits, wishes: Wishes): Plan {
  const { request, chunks, bytes, path, heldBytes = 0, share = 1 } = pass;
  const { budgetBytes = Number.POSITIVE_INFINITY } = wishes;
  const { output, saved } = bytes;
  const scratchOf = (chunk: number): number =>
    heldBytes + Math.max(path.scratchBytes(chunk), path.joiningBytes?.(chunk) ?? 0);
  const largestOf = (chunk: number): number => Math.max(bytes.largest ?? 0, path.largestBytes?.(chunk) ?? 0);
  const neededBy = (chunk: number): number => output + saved + share * scratchOf(chunk);
  const fits = (chunk: number): boolean =>
    neededBy(chunk) <= Math.min(budgetBytes, Number.MAX_SAFE_INTEGER) &&
    largestOf(chunk) <= limits.maxBufferBytes;

  const length = chunks?.length(request) ?? 1;
  const wanted =
    wishes.chunk ?? (chunks === undefined ? 1 : largestChunk(chunks.range(request, limits), path, fits));
  const chunk = Math.min(wanted, Math.max(length, 1));
  if (!fits(chunk)) {
    const remedy = chunk > 1 ? `a smaller ${chunks?.option}` : chunks?.remedy;
    throw doesNotFit(pass.title, neededBy(chunk), budgetBytes, largestOf(chunk), limits, [
      ...(remedy === undefined ? [] : [remedy]),
      ...(saved > 0 ? ['a smaller k'] : []),
    ]);
  }
  const scratch = scratchOf(chunk);
  return {
    chunk,
    chunks: Math.ceil(length / chunk),
    bytes: { inputs: bytes.inputs, output, saved, scratch, total: output + saved + scratch },
  };
}

/**
 * The part of a budget that the forward pass may take, as its inverse: where its scratch is kept, a training call leaves
 * most of it to the backward pass, which needs several times as much for a chunk.
 */
export function shareOf(saves: boolean, limits: DeviceLimits): 1 | 4 {
  return saves && limits.keepsScratch === true ? 4 : 1;
}
