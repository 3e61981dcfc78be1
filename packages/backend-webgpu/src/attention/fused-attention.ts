import type {
  AttentionInputs,
  AttentionOutputs,
  AttentionRequest,
  BackendTensor,
  DType,
  FusedOperation,
  Shape,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { exactPath } from './exact/exact-path.js';
import { CallPrograms } from './shared/call-programs.js';
import type { ForwardPath, ForwardViews } from './shared/forward-path.js';
import { relativeRefusals } from './shared/relative-bias.js';
import { shortPath } from './short/short-path.js';
import { storedPath } from './stored/stored-path.js';
import { sweepsPath } from './sweeps/sweeps-path.js';
import { tensorPath } from './tensor/tensor-path.js';

/** Every way to compute attention, the fastest first. */
const forwardPaths: readonly ForwardPath[] = [tensorPath(), shortPath, sweepsPath, storedPath, exactPath];

/** Most requests whose answers are kept: the layers of a model, and the steps of a loop, ask for the same few. */
const MOST_ANSWERS = 64;

export interface FusedAttentionOptions {
  /** Paths in order of preference. Default: `forwardPaths`. */
  readonly paths?: readonly ForwardPath[];
}

/**
 * Attention as one operation of the backend: the first of several paths that takes a request runs it; `explain()`
 * shows which, and why none before it did. `allocate` makes the outputs, with undefined content.
 */
export function fusedAttention<T extends BackendTensor & View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
  { paths = forwardPaths }: FusedAttentionOptions = {},
): FusedOperation<AttentionRequest, AttentionInputs<T>, AttentionOutputs<T>> {
  const answers = new Map<string, ReturnType<typeof answer>>();
  return {
    prepare(request) {
      // Seeds differ in every call. JSON writes scales alike that are not.
      const { dropout, scale } = request;
      if (dropout !== undefined || !Number.isFinite(scale) || Object.is(scale, -0)) return answer(request);
      const key = JSON.stringify(request);
      let known = answers.get(key);
      if (known === undefined) {
        known = answer(request, new CallPrograms(stream));
        if (answers.size >= MOST_ANSWERS) forget();
        answers.set(key, known);
      }
      return known;
    },
  };

  function forget(): void {
    for (const one of answers.values()) if ('forget' in one) one.forget();
    answers.clear();
  }

  function answer(request: AttentionRequest, programs?: CallPrograms) {
    const refusals = [...relativeRefusals(request)];
    if (refusals.length > 0) return { refusals };
    for (const path of paths) {
      const reasons = path.refuses(request, facts);
      if (reasons.length > 0) refusals.push(...reasons.map((reason) => `${path.name}: ${reason}`));
      else return prepared(path, refusals, request, programs);
    }
    return { refusals };
  }

  function prepared(
    path: ForwardPath,
    refusals: readonly string[],
    request: AttentionRequest,
    programs: CallPrograms | undefined,
  ) {
    return {
      preferredChunk: path.preferredChunk?.(request),
      scratchBytes: remembered((chunk) => path.scratchBytes(request, chunk, facts)),
      largestBytes: remembered((chunk) => path.largestBytes(request, chunk, facts)),
      describe() {
        const own = path.describe?.(request, facts);
        const chosen = own === undefined ? path.name : `${path.name} (${own})`;
        return { variant: [chosen, ...refusals.map((reason) => `not ${reason}`)].join('; ') };
      },
      run(inputs: AttentionInputs<T>, chunk: number): AttentionOutputs<T> {
        const { batch, queryHeads, queryLength, valueDim, dtype, k, saves } = request;
        const output = allocate([batch, queryHeads, queryLength, valueDim], dtype);
        const lists = saves && k !== 'all' ? [batch, queryHeads, queryLength, k] : undefined;
        const outputs = {
          output,
          ...(lists && { indices: allocate(lists, 'i32'), scores: allocate(lists, 'f32') }),
        };
        const views = { ...inputs, ...outputs };
        const record = (on: ForwardViews): void => path.record(stream, request, on, chunk);
        if (programs === undefined) record(views);
        else programs.run(chunk, views, record);
        return outputs;
      },
      forget: () => programs?.forget(),
    };
  }
}

/** Memoises a function of a chunk. */
function remembered(bytes: (chunk: number) => number): (chunk: number) => number {
  const known = new Map<number, number>();
  return (chunk) => {
    const own = known.get(chunk) ?? bytes(chunk);
    known.set(chunk, own);
    return own;
  };
}
