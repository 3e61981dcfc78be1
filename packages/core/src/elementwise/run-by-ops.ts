import type {
  ElementwiseInputs,
  ElementwiseOutputs,
  ElementwiseProgram,
  Expression,
} from '../contract/elementwise.js';
import { mapRoles } from '../operation/roles.js';
import {
  abs,
  add,
  div,
  erf,
  exp,
  log,
  lt,
  max,
  min,
  mul,
  neg,
  rsqrt,
  sigmoid,
  sqrt,
  sub,
  tanh,
  where,
} from '../ops/elementwise.js';
import type { Operand } from '../tensor/operations.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { operandsOf } from './program.js';

const unaryOps = { neg, abs, exp, log, sqrt, rsqrt, tanh, erf, sigmoid };
const binaryOps = { add, sub, mul, div, min, max };

/** Runs the ops of a program one by one; frees each intermediate after its last use. */
export function runByOps(
  { outputs }: ElementwiseProgram,
  inputs: ElementwiseInputs<Tensor>,
  numberAt: (index: number) => Tensor,
): ElementwiseOutputs<Tensor> {
  const uses = countUses(Object.values(outputs));
  const made = new Map<Expression, Tensor>();
  const take = (one: Expression): Operand => {
    switch (one.kind) {
      case 'input':
        return inputs[one.name] as Tensor;
      case 'number':
        return numberAt(one.index);
      case 'constant':
        return one.value;
      default: {
        const result = made.get(one) ?? compute(one);
        made.set(one, result);
        return result;
      }
    }
  };
  const resultOf = (one: Expression & { readonly kind: 'unary' | 'binary' | 'choose' }): Tensor => {
    switch (one.kind) {
      case 'unary':
        return unaryOps[one.op](take(one.x) as Tensor);
      case 'binary':
        return binaryOps[one.op](take(one.a), take(one.b));
      case 'choose': {
        const [condition, a, b] = [take(one.condition), take(one.a), take(one.b)];
        return scope(() => where(lt(0, condition), a, b));
      }
      default:
        return one satisfies never;
    }
  };
  const compute = (one: Expression & { readonly kind: 'unary' | 'binary' | 'choose' }): Tensor => {
    const result = resultOf(one);
    for (const operand of operandsOf(one)) {
      const left = (uses.get(operand) as number) - 1;
      uses.set(operand, left);
      if (left === 0) made.get(operand)?.dispose();
    }
    return result;
  };
  // An alias: an output may also be an input or another output.
  return scope(() => mapRoles(outputs, (one: Expression) => (take(one) as Tensor).alias()));
}

/** How often each expression is an operand or an output. */
function countUses(outputs: readonly Expression[]): Map<Expression, number> {
  const uses = new Map<Expression, number>();
  const count = (one: Expression): void => {
    const before = uses.get(one) ?? 0;
    uses.set(one, before + 1);
    if (before === 0) for (const operand of operandsOf(one)) count(operand);
  };
  for (const one of outputs) count(one);
  return uses;
}
