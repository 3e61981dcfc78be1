import {
  add,
  cast,
  custom,
  elementwiseProgram,
  fill,
  lt,
  mapElements,
  mul,
  scope,
  sub,
  type Tensor,
  type Term,
  terms,
  where,
} from '@topk-attention/core';

/** 1 - v / c0 (1 - v / c1 (...)): the even part of a Taylor series in v = x^2. */
function series(v: Term, divisors: readonly number[]): ReturnType<typeof terms.sub> {
  const { mul, sub } = terms;
  const [first = 1, ...others] = divisors;
  const inner = mul(v, 1 / first);
  return others.length === 0 ? sub(1, inner) : sub(1, mul(inner, series(v, others)));
}

/** Sine and cosine of 2 pi r for |r| <= 1/2: the series at a quarter of the angle, then doubled twice. */
const turns = elementwiseProgram({ inputs: ['r'] }, ({ r }) => {
  const { mul, sub } = terms;
  const quarter = mul(r, Math.PI / 2);
  const square = mul(quarter, quarter);
  const sine = mul(quarter, series(square, [6, 20, 42, 72, 110, 156, 210]));
  const cosine = series(square, [2, 12, 30, 56, 90, 132, 182, 240]);
  const double = (s: Term, c: Term) => ({ s: mul(mul(s, 2), c), c: sub(1, mul(mul(s, s), 2)) });
  const half = double(sine, cosine);
  const { s, c } = double(half.s, half.c);
  return { sine: s, cosine: c };
});

export interface SinCos {
  readonly sine: Tensor;
  readonly cosine: Tensor;
}

/** Sine and cosine of x, f32, in radians: backends have neither. For |x| up to about 1e4, with x's own relative error. */
export function sinCos(x: Tensor): SinCos {
  const [sine, cosine] = custom(
    'sinCos',
    [x],
    () => {
      const made = scope(() => {
        const whole = mul(x, 1 / (2 * Math.PI));
        // Casts cut towards zero.
        const nearest = cast(
          cast(add(whole, where(lt(whole, 0), fill(x.backend, -0.5, [1]), 0.5)), 'i32'),
          'f32',
        );
        return mapElements(turns, { r: sub(whole, nearest) });
      });
      const pair = [made.sine, made.cosine] as const;
      return { outputs: pair, saved: pair };
    },
    (ops, [dSine, dCosine], [s, c]) => {
      const parts = [dSine && ops.mul(dSine, c as Tensor), dCosine && ops.neg(ops.mul(dCosine, s as Tensor))];
      const given = parts.filter((one) => one !== undefined);
      return [given.length === 2 ? ops.add(given[0] as Tensor, given[1] as Tensor) : given[0]];
    },
  );
  return { sine: sine as Tensor, cosine: cosine as Tensor };
}
