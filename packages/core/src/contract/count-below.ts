/** How many of a run of ascending entries of a table lie below each target; the package mechanisms declares it. */
export interface CountBelowRequest {
  /** Rows of the table and of the targets. */
  readonly rows: number;
  /** Of a row of the table. */
  readonly entries: number;
  /** Of a row of the targets. */
  readonly targets: number;
  /** Entries of each run; 0 is possible. */
  readonly count: number;
  /** Whether `first` is given. */
  readonly hasFirst: boolean;
  readonly saves?: boolean;
}

export interface CountBelowInputs<T> {
  /** f32 [rows, entries] */
  readonly table: T;
  /** f32 [rows, targets] */
  readonly targets: T;
  /** i32 [rows, targets]: the place in its row of the table where a target's run begins. Default: 0. */
  readonly first?: T;
}

export interface CountBelowOutputs<T> {
  /**
   * i32 [rows, targets], from 0 to `count`, by halving: of the n entries that are left, number n / 2 from the first on
   * (rounded down, at least 1) is compared, so that runs that do not ascend have one result too. At place -1 is 0; what
   * lies outside of the row otherwise, or is NaN, is not below, and nothing is where the target is NaN.
   */
  readonly below: T;
}
