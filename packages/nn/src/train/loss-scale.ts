import {
  abs,
  aNumber,
  type Backend,
  cast,
  div,
  type ElementwiseProgram,
  elementwiseProgram,
  le,
  mapElements,
  mul,
  type OptionKinds,
  readOptions,
  scope,
  type Tensor,
  tensor,
  terms,
  where,
} from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';
import { requirePositive, requireWhole, requireWithin } from '../require.js';
import { scaledBy } from './gradients.js';

/** Names and defaults as in PyTorch's GradScaler. */
export interface LossScaleOptions {
  /** Default 65,536. */
  readonly initScale?: number;
  /** Default 2. */
  readonly growthFactor?: number;
  /** Default 0.5. */
  readonly backoffFactor?: number;
  /** Steps with finite gradients after which the scale grows. Default 2,000. */
  readonly growthInterval?: number;
}

/** The scale, and the count that decides when it grows. Plain numbers: save them, and go on from them. */
export interface LossScaleNumbers {
  readonly scale: number;
  /** Steps with finite gradients since the scale changed. */
  readonly goodSteps: number;
  /** Steps skipped so far. */
  readonly skippedSteps: number;
}

/** The same on a device, f32 [] each: a part of a step's state. */
export interface LossScaleState {
  readonly scale: Tensor;
  readonly goodSteps: Tensor;
  readonly skippedSteps: Tensor;
  readonly [name: string]: Tensor;
}

/**
 * Keeps gradients of f16 from vanishing: the loss is multiplied by a scale, and gradients are divided by it. A step whose
 * gradients are not finite is skipped and lowers the scale; many good ones in a row raise it. The state is in the
 * arguments, so a step with it can be recorded: nothing is read back.
 */
export interface LossScale {
  /** Where a training starts. */
  readonly start: LossScaleNumbers;
  /** On a device; the caller disposes of the tensors. Default `start`. */
  stateOf(backend: Backend, numbers?: LossScaleNumbers): LossScaleState;
  /** loss * scale, to take the gradients of. */
  scaled(loss: Tensor, state: LossScaleState): Tensor;
  /** gradients / scale. */
  unscaled(gradients: ParameterTree, state: LossScaleState): ParameterTree;
  /** bool []: whether a number [], such as the norm or the sum of all gradients, is finite. */
  isFinite(norm: Tensor): Tensor;
  /** What a good step made, or what was before it. Frees `next` on the way, so that little of it exists twice. */
  choose(isFinite: Tensor, next: ParameterTree, before: ParameterTree): ParameterTree;
  /** The state after a step. */
  next(state: LossScaleState, isFinite: Tensor): LossScaleState;
  /** The same with numbers, for who reads later whether the gradients were finite. */
  numbersAfter(numbers: LossScaleNumbers, isFinite: boolean): LossScaleNumbers;
}

const kinds: OptionKinds<LossScaleOptions> = {
  initScale: aNumber,
  growthFactor: aNumber,
  backoffFactor: aNumber,
  growthInterval: aNumber,
};

/** Any f32 number is at most this. */
const MOST = 3.4028234663852886e38;

/**
 * A loss scale for training with f16 parameters in the loss. `train` with `precision: 'mixed'` has one.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * import { cast } from '@topk-attention/core';
 * const scaling = lossScale({ growthInterval: 500 });
 * const x = tensor(backend, [1, 2]);
 * let state = scaling.stateOf(backend);
 * const { gradients } = valueAndGrad(({ x }: ParameterTree) => {
 *   const half = cast(x as Tensor, 'f16');
 *   return scaling.scaled(cast(sum(mul(half, half)), 'f32'), state);
 * })({ x });
 * const { norm, gradients: own } = clipGradNorm(scaling.unscaled(gradients, state), 1);
 * const isFinite = scaling.isFinite(norm);
 * const next = scaling.choose(isFinite, { x: sub(x, own.x as Tensor) }, { x });
 * state = scaling.next(state, isFinite);
 */
export function lossScale(options?: LossScaleOptions): LossScale {
  const {
    initScale = 65_536,
    growthFactor = 2,
    backoffFactor = 0.5,
    growthInterval = 2000,
  } = readOptions('lossScale', options, kinds);
  for (const [name, value] of Object.entries({ initScale, growthFactor, backoffFactor })) {
    requirePositive('lossScale', name, value);
  }
  // Otherwise a scale that overflows never falls, or f32 cannot hold it.
  requireWithin('lossScale', 'backoffFactor', backoffFactor, 0, 1);
  requireWithin('lossScale', 'growthFactor', growthFactor, 1);
  requireWithin('lossScale', 'initScale', initScale, 2 ** -126, 2 ** 127);
  requireWhole('lossScale', 'growthInterval', growthInterval, 1);
  const start = { scale: Math.fround(initScale), goodSteps: 0, skippedSteps: 0 };
  const program = nextProgram({ growthFactor, backoffFactor, growthInterval });
  const grown = (scale: number): number => Math.min(Math.fround(scale * Math.fround(growthFactor)), MOST);
  return {
    start,
    stateOf: (backend, { scale, goodSteps, skippedSteps } = start) =>
      scope(() => ({
        scale: tensor(backend, [scale], []),
        goodSteps: tensor(backend, [goodSteps], []),
        skippedSteps: tensor(backend, [skippedSteps], []),
      })),
    scaled: (loss, { scale }) => scope(() => mul(cast(loss, 'f32'), scale)),
    unscaled: (gradients, { scale }) => scope(() => scaledBy(gradients, div(1, scale))),
    // A comparison with NaN is false.
    isFinite: (norm) => scope(() => le(abs(norm), MOST)),
    choose: (isFinite, next, before) =>
      scope(() =>
        Object.fromEntries(
          Object.entries(next).map(([name, one]) => {
            const chosen = where(isFinite, one, before[name] as Tensor);
            one.dispose();
            return [name, chosen];
          }),
        ),
      ),
    next: ({ scale, goodSteps, skippedSteps }, isFinite) =>
      scope(() => {
        const was = cast(isFinite, 'f32');
        return mapElements(program, { scale, goodSteps, skippedSteps, was });
      }),
    numbersAfter: ({ scale, goodSteps, skippedSteps }, isFinite) => {
      if (!isFinite) {
        const lower = Math.fround(scale * Math.fround(backoffFactor));
        return { scale: lower, goodSteps: 0, skippedSteps: skippedSteps + 1 };
      }
      const isYoung = goodSteps + 1 < growthInterval;
      return { scale: isYoung ? scale : grown(scale), goodSteps: isYoung ? goodSteps + 1 : 0, skippedSteps };
    },
  };
}

/** The state after a step, in one pass over three numbers. */
function nextProgram({
  growthFactor,
  backoffFactor,
  growthInterval,
}: Required<Omit<LossScaleOptions, 'initScale'>>): ElementwiseProgram<keyof LossScaleNumbers> {
  const { add, choose, min, mul, sub } = terms;
  return elementwiseProgram(
    { inputs: ['scale', 'goodSteps', 'skippedSteps', 'was'] },
    ({ scale, goodSteps, skippedSteps, was }) => {
      const good = add(goodSteps, 1);
      const young = sub(growthInterval, good);
      const after = choose(young, scale, min(mul(scale, growthFactor), MOST));
      return {
        scale: choose(was, after, mul(scale, backoffFactor)),
        goodSteps: choose(was, choose(young, good, 0), 0),
        skippedSteps: choose(was, skippedSteps, add(skippedSteps, 1)),
      };
    },
  );
}
