import type { Io } from '../io.js';

/** One option of a command: what `parseArgs` needs and what the help prints. */
export interface Option {
  readonly type: 'string' | 'boolean';
  readonly multiple?: boolean;
  readonly short?: string;
  /** What stands for the value in the help, such as FILE. */
  readonly placeholder?: string;
  readonly help: string;
}

export type Options = { readonly [name: string]: Option };

/** Values as `parseArgs` gives them, by option name. */
export type Values<O extends Options> = {
  readonly [N in keyof O]?:
    | (O[N] extends { type: 'boolean' } ? boolean : O[N] extends { multiple: true } ? string[] : string)
    | undefined;
};

/** A command of the command line with everything known about it. */
export interface Command<O extends Options = Options> {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What follows the command's name on the usage line. */
  readonly usage: string;
  readonly options: O;
  /** Printed below the options: examples, notes. */
  readonly notes: readonly string[];
  /** Not listed in the help. */
  readonly isInternal?: boolean;
  /** Returns the exit code. */
  run(values: Values<O>, io: Io): Promise<number>;
}

/** Every command has these. */
export const commonOptions: {
  readonly json: { readonly type: 'boolean'; readonly help: string };
  readonly help: { readonly type: 'boolean'; readonly short: 'h'; readonly help: string };
} = {
  json: { type: 'boolean', help: 'print one JSON object on standard output, errors too' },
  help: { type: 'boolean', short: 'h', help: 'print this help' },
};

/** The options of all commands that run a model. */
export const modelOptions: {
  readonly model: Option & { readonly type: 'string' };
  readonly backend: Option & { readonly type: 'string' };
  readonly engine: Option & { readonly type: 'string' };
  readonly threads: Option & { readonly type: 'string' };
  readonly 'budget-bytes': Option & { readonly type: 'string' };
} = {
  model: {
    type: 'string',
    placeholder: 'embedded|DIR',
    help: 'the model that comes along (default), or a Hugging Face folder of a T5',
  },
  backend: {
    type: 'string',
    placeholder: 'NAME',
    help: 'auto (default), webgpu, onnxruntime, tfjs or reference; auto is webgpu on a GPU, else onnxruntime',
  },
  engine: {
    type: 'string',
    placeholder: 'NAME',
    help: 'with --backend tfjs: wasm (default), cpu, node (TensorFlow, through tfjs-node) or webgpu',
  },
  threads: {
    type: 'string',
    placeholder: 'N',
    help: 'threads of ONNX Runtime and of tfjs on node (default: one per core)',
  },
  'budget-bytes': {
    type: 'string',
    placeholder: 'BYTES',
    help: 'upper bound of each attention and feed-forward call beyond its inputs, such as 64MiB (default: none)',
  },
};
