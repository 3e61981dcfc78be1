import {
  add,
  div,
  max,
  mean,
  mul,
  type ProgramNumbers,
  reshape,
  rsqrt,
  type Shape,
  scope,
  sizeOf,
  sqrt,
  sub,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import {
  type AdafactorInputs,
  type AdafactorOutputs,
  type AdafactorRequest,
  defineOperation,
  runOperation,
} from '@topk-attention/core/backend';
import type { Slots, UpdatedParameter, UpdateGroup } from './rules.js';

type Settings = Omit<AdafactorRequest, 'shapes' | 'saves'>;

interface Request extends AdafactorRequest {
  /** The numbers one by one, for the composed version. */
  readonly values: ProgramNumbers;
}

const rowsOf = (shape: Shape): Shape => shape.slice(0, -1);
const columnsOf = (shape: Shape): Shape => [...shape.slice(0, -2), ...shape.slice(-1)];

/** Shapes of the averages of a parameter. */
export function adafactorSlots(
  shape: Shape,
  { beta1 }: Pick<Settings, 'beta1'>,
): { readonly [slot: string]: Shape } {
  return {
    ...(shape.length >= 2
      ? { exp_avg_sq_row: rowsOf(shape), exp_avg_sq_col: columnsOf(shape) }
      : { exp_avg_sq: shape }),
    ...(beta1 !== undefined && { exp_avg: shape }),
  };
}

const elements = ({ shapes }: Request): number => shapes.reduce((sum, shape) => sum + sizeOf(shape), 0);

/** Several parameters as one operation; elsewhere one after the other, by ops. */
const adafactorOperation = defineOperation<Request, AdafactorInputs<Tensor>, AdafactorOutputs<Tensor>>({
  name: 'adafactor',
  title: 'Adafactor update',
  outputs: (request) =>
    Object.fromEntries(
      request.shapes.flatMap((shape, at) =>
        Object.entries({ ...adafactorSlots(shape, request), parameter: shape }).map(([name, own]) => [
          `${at}:${name}`,
          { shape: own, dtype: 'f32' as const },
        ]),
      ),
    ),
  forward: {
    bytes: (request) => ({ inputs: 8 * elements(request), output: 4 * elements(request), saved: 0 }),
    composed: (request) => ({
      scratchBytes: () => 12 * request.shapes.reduce((most, shape) => Math.max(most, sizeOf(shape)), 0),
      run: (inputs) =>
        scope(() => {
          const made: { [role: string]: Tensor } = {};
          for (const [at, shape] of request.shapes.entries()) {
            const slots = Object.keys(adafactorSlots(shape, request)).map(
              (name) => [name, inputs[`${at}:${name}`] as Tensor] as const,
            );
            const next = scope(() =>
              updateOne(
                inputs[`${at}:parameter`] as Tensor,
                scaled(inputs[`${at}:gradient`] as Tensor, inputs.scale),
                Object.fromEntries(slots),
                request,
              ),
            );
            made[`${at}:parameter`] = next.parameter;
            for (const [name, one] of Object.entries(next.slots)) made[`${at}:${name}`] = one;
          }
          return made;
        }),
    }),
  },
});

/** Adafactor's update of parameters that share settings and numbers, in few launches on backends that support it. */
export function adafactorUpdate(settings: Settings): UpdateGroup {
  const { epsilons, clipThreshold, beta1, weightDecay, scaleParameter } = settings;
  const own: Settings = {
    ...{ epsilons, clipThreshold, weightDecay, scaleParameter },
    ...(beta1 !== undefined && { beta1 }),
  };
  return (ones, numbers, scale) => {
    const run = (list: typeof ones): readonly UpdatedParameter[] => {
      const inputs = list.flatMap(({ parameter, gradient, slots }, at) =>
        Object.entries({ parameter, gradient, ...slots }).map(
          ([name, one]) => [`${at}:${name}`, one] as const,
        ),
      );
      for (const [role, { dtype }] of inputs) requireF32(role, dtype);
      const made = runOperation(adafactorOperation, {
        where: 'adafactor',
        request: { ...own, shapes: list.map(({ parameter }) => parameter.shape), values: numbers },
        inputs: {
          ...Object.fromEntries(inputs),
          numbers: numbers.vector,
          ...(scale !== undefined && { scale }),
        },
      });
      return list.map(({ slots }, at) => {
        const next = Object.keys(slots).map((name) => [name, made[`${at}:${name}`] as Tensor] as const);
        return { parameter: made[`${at}:parameter`] as Tensor, slots: Object.fromEntries(next) };
      });
    };
    // Matrices side by side and empty parameters are rare: alone, so that no backend refuses the others because of them.
    const isPlain = ({ parameter }: UpdatedParameter): boolean => parameter.rank <= 2 && parameter.size > 0;
    const plain = ones.filter(isPlain);
    const together = plain.length === 0 ? [] : run(plain);
    return ones.map(
      (one) => (isPlain(one) ? together[plain.indexOf(one)] : run([one])[0]) as UpdatedParameter,
    );
  };
}

/** @throws TopKError DTYPE_MISMATCH */
function requireF32(role: string, dtype: Tensor['dtype']): void {
  if (dtype === 'f32') return;
  throw new TopKError(
    'DTYPE_MISMATCH',
    `adafactor: ${role.slice(role.indexOf(':') + 1)} has the wrong dtype`,
    {
      expected: 'f32',
      got: dtype,
    },
  );
}

function scaled(gradient: Tensor, scale: Tensor | undefined): Tensor {
  return scale === undefined ? gradient : mul(gradient, scale);
}

/** By ops: what backends are compared with. */
function updateOne(
  parameter: Tensor,
  gradient: Tensor,
  slots: Slots,
  { epsilons, clipThreshold, beta1, weightDecay, scaleParameter, values }: Request,
): UpdatedParameter {
  const square = add(mul(gradient, gradient), epsilons[0]);
  const averages = averageSquares(square, slots, values.at(0), values.at(1));
  const raw = mul(gradient, inverseRoot(averages, parameter.shape));
  const clipped = div(raw, max(mul(rootMeanSquare(raw), 1 / clipThreshold), 1));
  const base = values.at(2);
  const rate = scaleParameter ? mul(max(rootMeanSquare(parameter), epsilons[1]), base) : base;
  const fresh = mul(clipped, rate);
  const update =
    beta1 === undefined ? fresh : add(mul(slots.exp_avg as Tensor, beta1), mul(fresh, 1 - beta1));
  const kept = weightDecay === 0 ? parameter : sub(parameter, mul(mul(parameter, rate), weightDecay));
  return {
    parameter: sub(kept, update),
    slots: { ...averages, ...(beta1 !== undefined && { exp_avg: update }) },
  };
}

/** sqrt(mean(x²)) of all elements, shape []. */
function rootMeanSquare(x: Tensor): Tensor {
  return sqrt(mean(mul(x, x)));
}

function averageSquares(square: Tensor, slots: Slots, old: Tensor, fresh: Tensor): Slots {
  const average = (before: Tensor, now: Tensor): Tensor => add(mul(before, old), mul(now, fresh));
  if (slots.exp_avg_sq !== undefined) return { exp_avg_sq: average(slots.exp_avg_sq, square) };
  return {
    exp_avg_sq_row: average(slots.exp_avg_sq_row as Tensor, mean(square, { axes: [-1] })),
    exp_avg_sq_col: average(slots.exp_avg_sq_col as Tensor, mean(square, { axes: [-2] })),
  };
}

/** 1 / sqrt of the second average; for a matrix, row average times column average over the mean of the row averages. */
function inverseRoot(averages: Slots, shape: Shape): Tensor {
  if (averages.exp_avg_sq !== undefined) return rsqrt(averages.exp_avg_sq);
  const rows = averages.exp_avg_sq_row as Tensor;
  const share = div(rows, mean(rows, { axes: [-1], keepDims: true }));
  return mul(
    reshape(rsqrt(share), [...rowsOf(shape), 1]),
    reshape(rsqrt(averages.exp_avg_sq_col as Tensor), [...shape.slice(0, -2), 1, ...shape.slice(-1)]),
  );
}
