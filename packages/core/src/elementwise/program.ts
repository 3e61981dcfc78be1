import type { ElementwiseProgram, Expression } from '../contract/elementwise.js';
import type { BinaryOp, UnaryOp } from '../contract/op-names.js';

/** An expression, or a number. */
export type Term = Expression | number;

const binary =
  (op: BinaryOp) =>
  (a: Term, b: Term): Expression => ({ kind: 'binary', op, a: expressionOf(a), b: expressionOf(b) });
const unary =
  (op: UnaryOp) =>
  (x: Term): Expression => ({ kind: 'unary', op, x: expressionOf(x) });

const expressionOf = (term: Term): Expression =>
  typeof term === 'number' ? { kind: 'constant', value: term } : term;

/** What elementwise programs are written with: the names of the ops on tensors. An operand at least is no number. */
export const terms: { readonly [op in BinaryOp]: (a: Term, b: Term) => Expression } & {
  readonly [op in UnaryOp]: (x: Term) => Expression;
} = {
  add: binary('add'),
  sub: binary('sub'),
  mul: binary('mul'),
  div: binary('div'),
  min: binary('min'),
  max: binary('max'),
  neg: unary('neg'),
  abs: unary('abs'),
  exp: unary('exp'),
  log: unary('log'),
  sqrt: unary('sqrt'),
  rsqrt: unary('rsqrt'),
  tanh: unary('tanh'),
  erf: unary('erf'),
  sigmoid: unary('sigmoid'),
};

/**
 * A program over elements: `build` gets an expression for each input and for each number, and returns the outputs. Made
 * once, where a module is loaded or an object is built, and run by `mapElements`.
 *
 * @example
 * const { add, mul } = terms;
 * const axpy = elementwiseProgram({ inputs: ['x', 'y'], numbers: ['a'] }, ({ a, x, y }) => ({ sum: add(mul(a, x), y) }));
 */
export function elementwiseProgram<const Name extends string, const Output extends string>(
  names: { readonly inputs: readonly Name[]; readonly numbers?: readonly Name[] },
  build: (expressions: { readonly [name in NoInfer<Name>]: Expression }) => {
    readonly [output in Output]: Expression;
  },
): ElementwiseProgram & { readonly outputs: { readonly [output in Output]: Expression } } {
  const { inputs, numbers = [] } = names;
  const entries = [
    ...inputs.map((name) => [name, { kind: 'input', name }] as const),
    ...numbers.map((name, index) => [name, { kind: 'number', index }] as const),
  ];
  const outputs = build(Object.fromEntries(entries) as { readonly [name in Name]: Expression });
  return { key: keyOf(outputs), inputs, numbers: numbers.length, outputs };
}

/** The graph as a text, each node once. */
function keyOf(outputs: { readonly [name: string]: Expression }): string {
  const places = new Map<Expression, number>();
  const nodes: string[] = [];
  const place = (one: Expression): number => {
    const known = places.get(one);
    if (known !== undefined) return known;
    const text = textOf(one, place);
    nodes.push(text);
    places.set(one, nodes.length - 1);
    return nodes.length - 1;
  };
  const results = Object.entries(outputs).map(([name, one]) => `${name}=${place(one)}`);
  return `${nodes.join(' ')} ${results.join(' ')}`;
}

function textOf(one: Expression, place: (one: Expression) => number): string {
  switch (one.kind) {
    case 'input':
      return one.name;
    case 'number':
      return `#${one.index}`;
    case 'constant':
      return String(one.value);
    case 'unary':
      return `${one.op}(${place(one.x)})`;
    case 'binary':
      return `${one.op}(${place(one.a)},${place(one.b)})`;
    default:
      return one satisfies never;
  }
}
