import type { Facts, PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import type { OutputSpec } from '../tensor/apply.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Roles } from './roles.js';

/** Bytes of a pass that are the same on every path. */
export interface PassBytes {
  /** The caller's tensors. */
  readonly inputs: number;
  /** What the pass returns: its output, or the gradients. */
  readonly output: number;
  /** What the forward pass keeps for the backward pass. */
  readonly saved: number;
  /** The largest single tensor of these to check against `maxBufferBytes`. Default: not checked. */
  readonly largest?: number;
}

/** One pass built from primitives; it accepts every request. */
export interface ComposedPass<Inputs, Outputs> extends PreparedBytes {
  /** What it chose, for `explain()`. */
  describe?(): Facts;
  /** Bytes for joining the results of several chunks at the end; counted if they exceed a chunk's scratch. */
  joiningBytes?(chunk: number): number;
  run(inputs: Inputs, chunk: number): Outputs;
}

export interface PassDefinition<Request, Inputs, Outputs> {
  bytes(request: Request, limits: DeviceLimits): PassBytes;
  composed(request: Request, limits: DeviceLimits): ComposedPass<Inputs, Outputs>;
}

/** How an operation divides its work into chunks. */
export interface Chunks<Request> {
  /** Name of the option that sets the chunk and of the plan's number: 'queryChunk'. */
  readonly option: string;
  /** The chunk in words, for messages: 'query chunk'. */
  readonly title: string;
  /** The total length that the chunks cover: queries, tokens. */
  length(request: Request): number;
  /** The smallest and largest chunk that planning picks by itself, and its target scratch bytes. */
  range(request: Request, limits: DeviceLimits): ChunkRange;
  /** What helps if a chunk of one does not fit: 'fewer tokens at a time'. */
  readonly remedy: string;
}

export interface ChunkRange {
  readonly least: number;
  readonly most: number;
  readonly targetBytes: number;
}

/** Roles of the backward pass: the inputs, what the forward pass saved, and the gradient of `output`. */
export type BackwardRoles<Inputs, Outputs> = Inputs &
  Partial<Omit<Outputs, 'output'>> & { readonly dOutput: Tensor };

/**
 * An operation, declared once: apart from checks, everything core does with it follows from this declaration and from
 * role names. `Inputs`, `Outputs` and `Gradients` are objects of tensors by role; a backend's fused version has the
 * same roles.
 */
export interface Operation<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object = never,
> {
  /** Its name among a backend's fused operations; the backward pass is called `${name}Backward` there. */
  readonly name: string;
  /** Its name in planning errors. */
  readonly title: string;
  /** If left out, the work is not divided. */
  readonly chunks?: Chunks<Request>;
  /** Shapes and dtypes of the outputs. With a backward pass, only `output` has a gradient; others are saved for it. */
  outputs(request: Request): Roles<Outputs, OutputSpec>;
  /** True if there is nothing to compute: results are zeros, and no path is asked. Default: never. */
  isEmpty?(request: Request): boolean;
  readonly forward: PassDefinition<Request, Inputs, Outputs>;
  /** If left out, tapes record the composed version's ops, and a fused version runs only if no gradient is wanted. */
  readonly backward?: PassDefinition<Request, BackwardRoles<Inputs, Outputs>, Gradients> & {
    /** Inputs that have gradients, if given. */
    readonly roles: readonly (keyof Gradients & keyof Inputs & string)[];
    /**
     * True when a fused forward pass runs in training only together with a fused backward pass, since nothing else
     * reads what it saves. Default false: the composed backward pass reads it.
     */
    readonly isPaired?: boolean;
  };
}

/** An operation with a backward pass of its own. */
export type DifferentiableOperation<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
> = Operation<Request, Inputs, Outputs, Gradients> & {
  readonly backward: NonNullable<Operation<Request, Inputs, Outputs, Gradients>['backward']>;
};

/** Gives a declaration its types. Registers nothing: the functions of this folder take the declaration. */
export function defineOperation<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
  Gradients extends object,
>(
  operation: DifferentiableOperation<Request, Inputs, Outputs, Gradients>,
): DifferentiableOperation<Request, Inputs, Outputs, Gradients>;
export function defineOperation<
  Request extends { readonly saves?: boolean },
  Inputs extends object,
  Outputs extends object,
>(operation: Operation<Request, Inputs, Outputs>): Operation<Request, Inputs, Outputs>;
export function defineOperation(operation: object): object {
  return operation;
}
