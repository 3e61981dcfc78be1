/** What a step returns. */
export interface StepResult<State, Outputs> {
  /** The next state: tensors in the form of the old one, of the same shapes and dtypes. */
  readonly state: State;
  /** Whatever else the caller wants from it. */
  readonly outputs: Outputs;
}

/** Seeds by path: a path of a step gives another seed in every step (see `seedsFrom` of `@topk-attention/nn`). */
export type StepSeeds = (path: string) => number;

/** A step: tensors from tensors, and the same work for the same shapes. It reads nothing and has no other effects. */
export type Step<State, Inputs, Outputs> = (
  state: State,
  inputs: Inputs,
  seeds: StepSeeds,
) => StepResult<State, Outputs>;

export interface StepCall {
  /** Seeds of this call, for ops that draw random numbers, such as dropout. Default: none, and `seeds(path)` throws. */
  readonly seeds?: StepSeeds;
  /**
   * Numbers and words that the step reads from outside, such as k or a rate: changing one makes it a different step.
   * Default: none.
   */
  readonly statics?: readonly (string | number | boolean)[];
}

export interface RecordedStepOptions {
  /** Recordings kept, of different shapes or statics; each keeps the memory of a step. Default 4; 0: never record. */
  readonly mostRecordings?: number;
}

/** How often a step ran in each way. */
export interface StepCounts {
  /** By calling the function: the first time with new shapes, and where it could not be recorded or replayed. */
  readonly called: number;
  /** By calling the function, and keeping the commands. */
  readonly recorded: number;
  readonly replayed: number;
}

/** A step that can be called any number of times. */
export interface RecordedStep<State, Inputs, Outputs> {
  /**
   * Runs a step. Consumes the state: its tensors are disposed when this returns. Inputs stay the caller's.
   *
   * @throws TopKError INVALID_OPTION if a tree holds anything but tensors or the new state's form differs from the old
   * one's; whatever the function throws, leaving the state as it was but for what the function itself disposed of.
   */
  (state: State, inputs: Inputs, call?: StepCall): StepResult<State, Outputs>;
  readonly counts: StepCounts;
  /** Bytes that recordings keep. */
  readonly bytes: number;
  /** Why the last new step was not recorded; undefined if it was, or has not been yet. */
  readonly refusal: string | undefined;
  /** Frees the recordings; a returned state stays valid. */
  dispose(): void;
}
