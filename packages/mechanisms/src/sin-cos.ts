import {
  custom,
  elementwiseProgram,
  mapElements,
  type Operations,
  type Tensor,
  type Term,
  terms,
} from '@topk-attention/core';

const { abs, add, choose, mul, neg, sub } = terms;

/** Whole turns that are taken off, each at most once, from the largest on: up to 2,048 turns in all. */
const TURNS = Array.from({ length: 11 }, (_, at) => 2 ** (10 - at));

/** The first coefficients of the Taylor series of cos(z) and of sin(z) / z in z^2. */
const COSINE = coefficients(9, 0);
const SINE = coefficients(8, 1);

function coefficients(count: number, first: 0 | 1): readonly number[] {
  const made = [1];
  for (let at = 1; at < count; at++) {
    const n = 2 * at + first;
    made.push(-(made[at - 1] as number) / (n * (n - 1)));
  }
  return made;
}

function polynomial(v: Term, coefs: readonly number[]): Term {
  return coefs.slice(0, -1).reduceRight<Term>((sum, one) => add(mul(v, sum), one), coefs.at(-1) as number);
}

/**
 * x / (2 pi) less the nearest whole number, for x >= 0; 0 for numbers with more turns than are taken off. There is no
 * operation that rounds; every difference is exact.
 */
function partOfTurn(x: Term): Term {
  const left = TURNS.reduce<Term>(
    (rest, turns) => {
      const less = sub(rest, turns);
      return choose(less, less, rest);
    },
    mul(x, 1 / (2 * Math.PI)),
  );
  // What is left of too many turns would overflow in the series. 0 times an infinity is NaN.
  const part = choose(sub(left, 1), mul(left, 0), left);
  return choose(sub(part, 0.5), sub(part, 1), part);
}

export interface SinCos {
  readonly sine: Tensor;
  readonly cosine: Tensor;
}

/**
 * A function that gives `amplitude` times the sine and cosine of x, f32, in radians: backends have neither. For |x| up to
 * 1e4, with x's own relative error; from some 1.3e4 on 0 and the amplitude; not finite for infinities. One pass over memory
 * where a backend runs programs in one, and one in the backward pass.
 */
export function sinCos(amplitude = 1): (x: Tensor) => SinCos {
  const value = elementwiseProgram({ inputs: ['x'] }, ({ x }) => {
    // The series at a quarter of the angle, then doubled twice.
    const quarter = mul(partOfTurn(abs(x)), Math.PI / 2);
    const square = mul(quarter, quarter);
    const double = (s: Term, c: Term) => ({ s: mul(mul(s, 2), c), c: sub(1, mul(mul(s, s), 2)) });
    const half = double(mul(quarter, polynomial(square, SINE)), polynomial(square, COSINE));
    const { s, c } = double(half.s, half.c);
    const sine = mul(s, amplitude);
    return { sine: choose(x, sine, neg(sine)), cosine: mul(c, amplitude) };
  });
  return (x) => {
    const [sine, cosine] = custom(
      'sinCos',
      [x],
      () => {
        const made = mapElements(value, { x });
        const pair = [made.sine, made.cosine] as const;
        return { outputs: pair, saved: pair };
      },
      (ops, [dSine, dCosine], [s, c]) => {
        const given = (one: Tensor | undefined): Tensor => one ?? zerosLike(ops, s as Tensor);
        const inputs = { s: s as Tensor, c: c as Tensor, ds: given(dSine), dc: given(dCosine) };
        return [mapElements(gradient, inputs).dx];
      },
    );
    return { sine: sine as Tensor, cosine: cosine as Tensor };
  };
}

const gradient = elementwiseProgram({ inputs: ['s', 'c', 'ds', 'dc'] }, ({ s, c, ds, dc }) => ({
  dx: sub(mul(ds, c), mul(dc, s)),
}));

function zerosLike(ops: Operations, { backend, shape, dtype }: Tensor): Tensor {
  return ops.zeros(backend, shape, dtype);
}
