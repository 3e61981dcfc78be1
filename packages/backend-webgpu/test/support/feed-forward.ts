import {
  type ChosenFeedForward,
  type DType,
  type Prepared,
  type Refused,
  type Shape,
  sizeOf,
} from '@topk-attention/core/backend';
import {
  type FeedForwardArrays,
  halfToNumber,
  numberToHalf,
  type ReferenceFeedForwardGradients,
  referenceFeedForward,
  referenceFeedForwardBackward,
} from '@topk-attention/core/reference';
import { expect } from 'vitest';
import { fusedFeedForward, fusedFeedForwardBackward } from '../../src/feed-forward/fused-feed-forward.js';
import { limitsOf } from '../../src/limits.js';
import { acquireDevice } from '../../src/runtime/acquire.js';
import { type DeviceFacts, deviceFacts } from '../../src/runtime/facts.js';
import { Stream } from '../../src/runtime/stream.js';
import { storageBytes, type View } from '../../src/runtime/view.js';

export interface Harness {
  readonly stream: Stream;
  readonly facts: DeviceFacts;
  allocate(shape: Shape, dtype: DType): View;
  put(values: ArrayLike<number>, shape: Shape, dtype?: DType): View;
  read(view: View): Promise<number[]>;
  destroy(): void;
}

export async function openHarness(facts: Partial<DeviceFacts> = {}): Promise<Harness> {
  const { device } = await acquireDevice();
  const stream = new Stream(device);
  const allocate = (shape: Shape, dtype: DType): View => ({
    span: stream.scratch(storageBytes(shape, dtype)),
    shape,
    dtype,
  });
  return {
    stream,
    facts: { ...deviceFacts(device), ...facts },
    allocate,
    put(values, shape, dtype = 'f32') {
      const view = allocate(shape, dtype);
      let bytes: Uint8Array;
      if (dtype === 'f16') {
        const halves = new Uint16Array(2 * Math.ceil(values.length / 2));
        halves.set(Array.from(values, numberToHalf));
        bytes = new Uint8Array(halves.buffer);
      } else if (dtype === 'i32') bytes = new Uint8Array(Int32Array.from(values).buffer);
      else bytes = new Uint8Array(Float32Array.from(values).buffer);
      stream.write(view.span, bytes);
      return view;
    },
    async read({ span, shape, dtype }) {
      const { buffer } = await stream.read(span);
      const size = sizeOf(shape);
      if (dtype === 'f16') return Array.from(new Uint16Array(buffer).subarray(0, size), halfToNumber);
      if (dtype === 'i32') return Array.from(new Int32Array(buffer).subarray(0, size));
      return Array.from(new Float32Array(buffer).subarray(0, size));
    },
    destroy: () => device.destroy(),
  };
}

export function requestOf(parts: Partial<ChosenFeedForward>): ChosenFeedForward {
  return {
    tokens: 5,
    inputDim: 8,
    hidden: 16,
    outputDim: 8,
    dtype: 'f32',
    k: 4,
    activation: 'relu',
    gated: false,
    biasIn: false,
    biasOut: false,
    select: 'preactivation',
    second: 'gather',
    selection: { levels: 1 },
    ...parts,
  };
}

/** The same sequence for the same seed. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Halves between -2 and 2: products are exact in f32, so that ties are many and every set is the same. */
export function drawArrays(request: ChosenFeedForward, seed: number): FeedForwardArrays {
  const random = randomOf(seed);
  const draw = (size: number): number[] =>
    Array.from({ length: size }, () => Math.round(8 * random() - 4) / 2);
  const { tokens, inputDim, hidden, outputDim, biasIn, biasOut, gated } = request;
  return {
    x: draw(tokens * inputDim),
    wIn: draw(inputDim * hidden),
    ...(biasIn && { bIn: draw(hidden) }),
    ...(gated && { wGate: draw(inputDim * hidden) }),
    wOut: draw(hidden * outputDim),
    ...(biasOut && { bOut: draw(outputDim) }),
  };
}

function shapesOf({ tokens, inputDim, hidden, outputDim }: ChosenFeedForward): Record<string, Shape> {
  return {
    x: [tokens, inputDim],
    wIn: [inputDim, hidden],
    bIn: [hidden],
    wGate: [inputDim, hidden],
    wOut: [hidden, outputDim],
    bOut: [outputDim],
  };
}

type Role = keyof FeedForwardArrays;
export const roles: readonly Role[] = ['x', 'wIn', 'bIn', 'wGate', 'wOut', 'bOut'];

export interface Outcome {
  readonly output: number[];
  readonly indices: number[];
  readonly preactivations: number[];
  readonly gradients: Partial<Record<Role, number[]>>;
}

function taken<Inputs, Outputs>(answer: Prepared<Inputs, Outputs> | Refused): Prepared<Inputs, Outputs> {
  if ('refusals' in answer) throw new Error(answer.refusals.join('; '));
  return answer;
}

/** Runs forward and backward on the device. */
export async function runLayer(
  { stream, facts, allocate, put, read }: Harness,
  request: ChosenFeedForward,
  arrays: FeedForwardArrays,
  dOutput: ArrayLike<number>,
  chunk: number,
): Promise<Outcome> {
  const shapes = shapesOf(request);
  const up = (role: Role): View => put(arrays[role] ?? [], shapes[role] ?? [], request.dtype);
  const inputs = {
    x: up('x'),
    wIn: up('wIn'),
    ...(arrays.bIn && { bIn: up('bIn') }),
    ...(arrays.wGate && { wGate: up('wGate') }),
    wOut: up('wOut'),
    ...(arrays.bOut && { bOut: up('bOut') }),
  };
  const saving = { ...request, saves: true };
  // Limits under which the second product is the one that the request names.
  const limits = {
    ...limitsOf(facts),
    targetScratchBytes: Number.POSITIVE_INFINITY,
    gatherCost: request.second === 'gather' ? 0 : Number.POSITIVE_INFINITY,
  };
  const forward = taken(fusedFeedForward(stream, facts, allocate).prepare(saving, limits));
  const { output, indices, preactivations } = forward.run(inputs, chunk);
  const backward = taken(fusedFeedForwardBackward(stream, facts, allocate).prepare(saving, limits));
  const gradients = backward.run(
    {
      ...inputs,
      ...(indices && { indices }),
      ...(preactivations && { preactivations }),
      dOutput: put(dOutput, output.shape, request.dtype),
    },
    chunk,
  );
  const found: Partial<Record<Role, number[]>> = {};
  for (const role of roles) {
    const gradient = gradients[role];
    if (gradient !== undefined) found[role] = await read(gradient);
  }
  return {
    output: await read(output),
    indices: indices ? await read(indices) : [],
    preactivations: preactivations ? await read(preactivations) : [],
    gradients: found,
  };
}

export function expectClose(
  what: string,
  got: readonly number[],
  wanted: ArrayLike<number>,
  tolerance: number,
): void {
  expect(got.length, what).toBe(wanted.length);
  let scale = 1;
  for (let i = 0; i < wanted.length; i++) {
    const size = Math.abs(wanted[i] as number);
    if (Number.isFinite(size)) scale = Math.max(scale, size);
  }
  for (let i = 0; i < wanted.length; i++) {
    const [mine, theirs] = [got[i] as number, wanted[i] as number];
    const isSame = Object.is(mine, theirs) || Math.abs(mine - theirs) <= tolerance * scale;
    if (!isSame) expect.fail(`${what}[${i}]: got ${mine}, expected ${theirs} (largest ${scale})`);
  }
}

/** Against the oracle: output and gradients. */
export async function checkLayer(
  harness: Harness,
  request: ChosenFeedForward,
  seed: number,
  chunk: number = request.tokens,
): Promise<Outcome> {
  const arrays = drawArrays(request, seed);
  const random = randomOf(seed + 1000);
  const dOutput = Array.from(
    { length: request.tokens * request.outputDim },
    () => Math.round(8 * random() - 4) / 4,
  );
  const outcome = await runLayer(harness, request, arrays, dOutput, chunk);
  const tolerance = request.dtype === 'f16' ? 2e-3 : 3e-6;
  expectClose('output', outcome.output, referenceFeedForward(request, arrays), tolerance);
  const wanted: ReferenceFeedForwardGradients = referenceFeedForwardBackward(request, arrays, dOutput);
  for (const role of roles) {
    const gradient = outcome.gradients[role];
    if (gradient !== undefined) expectClose(`gradient of ${role}`, gradient, wanted[role], tolerance);
  }
  return outcome;
}
