import type { ElementwiseProgram, Expression } from '../contract/elementwise.js';
import { TopKError } from '../contract/errors.js';
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
} & {
  /** a where the condition, which is no number, is above 0, else b. */
  readonly choose: (condition: Term, a: Term, b: Term) => Expression;
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
  choose: (condition, a, b) => ({
    kind: 'choose',
    ...{ condition: expressionOf(condition), a: expressionOf(a), b: expressionOf(b) },
  }),
};

/**
 * A program over elements: `build` gets an expression for each input and for each number, and returns the outputs. Made
 * once, where a module is loaded or an object is built, and run by `mapElements`. Names are words of letters, digits and
 * underscores, but not `numbers`; each output reads an input, each op something besides constants, and constants are finite.
 *
 * @throws TopKError INVALID_OPTION
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
): ElementwiseProgram<Output> {
  const { inputs, numbers = [] } = names;
  const entries = [
    ...inputs.map((name) => [name, { kind: 'input', name }] as const),
    ...numbers.map((name, index) => [name, { kind: 'number', index }] as const),
  ];
  requireNames([...inputs, ...numbers]);
  const outputs = build(Object.fromEntries(entries) as { readonly [name in Name]: Expression });
  requireNames(Object.keys(outputs));
  for (const [name, one] of Object.entries<Expression>(outputs)) requireInput(name, one);
  // Inputs and numbers that nothing reads count too: a backend may bind them.
  const key = `${inputs.join()} #${numbers.length}: ${keyOf(outputs)}`;
  return { key, inputs, numbers: numbers.length, outputs };
}

/** Backends make names of variables of them, and hand the numbers over under `numbers`. */
function requireNames(names: readonly string[]): void {
  const wrong = names.find(
    (name, at) => !/^[a-z][a-z0-9_]*$/i.test(name) || name === 'numbers' || names.indexOf(name) !== at,
  );
  if (wrong === undefined && names.length > 0) return;
  throw new TopKError('INVALID_OPTION', 'elementwiseProgram: bad name', {
    expected: "names of letters, digits and underscores, each once, other than 'numbers'",
    got: wrong === undefined ? 'none' : `'${wrong}'`,
  });
}

/** What no input goes into has the shape of no tensor. */
function requireInput(output: string, expression: Expression): void {
  const seen = new Set<Expression>();
  let hasInput = false;
  /** Whether an expression is more than a constant. */
  const visit = (one: Expression): boolean => {
    if (one.kind === 'constant') {
      requireFinite(one.value);
      return false;
    }
    hasInput ||= one.kind === 'input';
    if (one.kind === 'input' || one.kind === 'number' || seen.has(one)) return true;
    seen.add(one);
    if (one.kind === 'choose' && one.condition.kind === 'constant') {
      throw new TopKError('INVALID_OPTION', `elementwiseProgram: output ${output} chooses by a constant`, {
        expected: 'a condition that is not a constant',
        got: String(one.condition.value),
        fix: 'Choose when you build the program',
      });
    }
    const operands = operandsOf(one);
    if (operands.map(visit).includes(true)) return true;
    throw new TopKError(
      'INVALID_OPTION',
      `elementwiseProgram: output ${output} applies ${one.kind === 'choose' ? one.kind : one.op} to constants only`,
      {
        expected: 'at least one operand that is not a constant',
        got: operands.map(({ kind }) => kind).join(' and '),
        fix: 'Compute the constant when you build the program',
      },
    );
  };
  visit(expression);
  if (hasInput) return;
  throw new TopKError('INVALID_OPTION', `elementwiseProgram: output ${output} reads no input`, {
    expected: 'an expression that reads an input',
    got: 'only numbers and constants',
  });
}

/** Shaders have no literals for others. */
function requireFinite(value: number): void {
  if (Number.isFinite(Math.fround(value))) return;
  throw new TopKError('INVALID_OPTION', 'elementwiseProgram: a constant is not a finite f32', {
    expected: 'a magnitude of at most 3.4e38',
    got: String(value),
    fix: 'Pass it as one of the numbers',
  });
}

/** Names of the inputs that an expression reads. */
export function inputsOf(expression: Expression): readonly string[] {
  const seen = new Set<Expression>();
  const names: string[] = [];
  const visit = (one: Expression): void => {
    if (seen.has(one)) return;
    seen.add(one);
    if (one.kind === 'input') names.push(one.name);
    for (const operand of operandsOf(one)) visit(operand);
  };
  visit(expression);
  return names;
}

/** What an expression is computed from. */
export function operandsOf(one: Expression): readonly Expression[] {
  switch (one.kind) {
    case 'unary':
      return [one.x];
    case 'binary':
      return [one.a, one.b];
    case 'choose':
      return [one.condition, one.a, one.b];
    default:
      return [];
  }
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
      return Object.is(one.value, -0) ? '-0' : String(one.value);
    case 'unary':
      return `${one.op}(${place(one.x)})`;
    case 'binary':
      return `${one.op}(${place(one.a)},${place(one.b)})`;
    case 'choose':
      return `choose(${place(one.condition)},${place(one.a)},${place(one.b)})`;
    default:
      return one satisfies never;
  }
}
