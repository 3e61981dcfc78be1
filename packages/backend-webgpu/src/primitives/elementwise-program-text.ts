import type { ElementwiseProgram, Expression } from '@topk-attention/core/backend';
import { binaryExpression, unaryFunction } from './elementwise.js';
import { type Helper, helperText } from './elementwise-wgsl.js';

/** WGSL of a program: each expression once, in the order in which they are needed. */
export interface ProgramText {
  /** Functions that the lines call. */
  readonly functions: string;
  readonly lines: readonly string[];
  /** Names of the outputs, with the variables that hold them. */
  readonly outputs: readonly (readonly [name: string, variable: string])[];
}

/**
 * @param load the text that reads an input's element; numbers are read from `in_numbers`
 * @param own helpers that `load` and what stores the outputs need
 */
export function programText(
  { outputs }: ElementwiseProgram,
  load: (input: string) => string,
  own: readonly Helper[] = [],
): ProgramText {
  const names = new Map<Expression, string>();
  const lines: string[] = [];
  const functions = new Map<string, string>();
  const helpers: Helper[] = [...own];
  const nameOf = (one: Expression): string => {
    const known = names.get(one);
    if (known !== undefined) return known;
    const text = textOf(one);
    const name = `e${lines.length}`;
    lines.push(`let ${name} = ${text};`);
    names.set(one, name);
    return name;
  };
  const textOf = (one: Expression): string => {
    switch (one.kind) {
      case 'input':
        return load(one.name);
      case 'number':
        return `in_numbers[${one.index}u]`;
      case 'constant':
        return literalOf(one.value);
      case 'unary': {
        const { text, helpers: needed } = unaryFunction(one.op);
        functions.set(one.op, text);
        helpers.push(...needed);
        return `bitcast<f32>(${one.op}_bits(bitcast<u32>(${nameOf(one.x)})))`;
      }
      case 'binary':
        return binaryExpression(one.op, nameOf(one.a), nameOf(one.b));
      case 'choose':
        return `select(${nameOf(one.b)}, ${nameOf(one.a)}, ${nameOf(one.condition)} > 0.0)`;
      default:
        return one satisfies never;
    }
  };
  const stored = Object.entries(outputs).map(([name, one]) => [name, nameOf(one)] as const);
  return {
    functions: `${helperText(helpers)}\n${[...functions.values()].join('\n')}`,
    lines,
    outputs: stored,
  };
}

/** WGSL of an element of an input of f16, as f32: exact, subnormals too. Needs the helper 'halfToBits'. */
export function halfAt(array: string, at = 'at'): string {
  return `bitcast<f32>(half_to_bits((${array}[${at} / 2u] >> (16u * (${at} % 2u))) & 0xffffu))`;
}

/** As f32 before it is printed: the nearest number of WGSL, never an integer too large for one. */
function literalOf(value: number): string {
  const rounded = Math.fround(value);
  const text = Object.is(rounded, -0) ? '-0' : String(rounded);
  return `f32(${/[.e]/.test(text) ? text : `${text}.0`})`;
}
