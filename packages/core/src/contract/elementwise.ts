import type { DType } from './dtype.js';
import type { BinaryOp, UnaryOp } from './op-names.js';
import type { Shape } from './shape.js';

/** A number for each element, as a graph: an expression used in two places is computed once. */
export type Expression =
  /** The element of an input. */
  | { readonly kind: 'input'; readonly name: string }
  /** One of the program's numbers, the same for all elements. */
  | { readonly kind: 'number'; readonly index: number }
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'unary'; readonly op: UnaryOp; readonly x: Expression }
  | { readonly kind: 'binary'; readonly op: BinaryOp; readonly a: Expression; readonly b: Expression }
  /** a where the condition is above 0, else b; the other of them may be anything, even NaN. */
  | {
      readonly kind: 'choose';
      readonly condition: Expression;
      readonly a: Expression;
      readonly b: Expression;
    };

/** Functions of the elements of some tensors, all of one shape. */
export interface ElementwiseProgram<Output extends string = string> {
  /** Equal keys, equal programs. */
  readonly key: string;
  readonly inputs: readonly string[];
  /** How many numbers there are besides. */
  readonly numbers: number;
  readonly outputs: { readonly [name in Output]: Expression };
}

/** How the tensors of a call are stored; everything is computed in f32. */
export interface ElementwiseStorage {
  /** Names of inputs that are f16; the others are f32. */
  readonly halfInputs: readonly string[];
  /** Of all outputs. */
  readonly outputs: Extract<DType, 'f32' | 'f16'>;
}

/** A call: tensors of one shape, and some with an element for each of its rows. */
export interface ElementwiseRequest {
  readonly program: ElementwiseProgram;
  /** Of the outputs, and of all inputs but `rowInputs`. */
  readonly shape: Shape;
  /** Names of inputs with 1 as the last extent, whose element goes with a whole row. Default: none. */
  readonly rowInputs?: readonly string[];
  /** Default: all tensors are f32. */
  readonly storage?: ElementwiseStorage;
  readonly saves?: boolean;
}

/** One program for several tensors, such as an optimiser's update of all parameters. */
export interface ElementwiseListRequest {
  readonly program: ElementwiseProgram;
  /** Of each tensor; none is empty. */
  readonly shapes: readonly Shape[];
  /** The same for all of them. Default: all tensors are f32. */
  readonly storage?: ElementwiseStorage;
  readonly saves?: boolean;
}

/**
 * The inputs of the program under their names, and `numbers`, f32 [n], where it has any. In a list, inputs and outputs of
 * tensor i are named `i:NAME`, and the numbers are shared.
 */
export type ElementwiseInputs<T> = { readonly [name: string]: T };

/** The outputs of the program under their names; see above for those of a list. */
export type ElementwiseOutputs<T> = { readonly [name: string]: T };
