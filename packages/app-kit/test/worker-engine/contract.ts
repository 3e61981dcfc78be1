/** What the worker of the test can be asked. */
export interface EchoContract {
  readonly echo: { readonly argument: string; readonly result: string; readonly event: number };
  readonly fail: { readonly argument: null; readonly result: never; readonly event: never };
  /** Computes and hears nothing. */
  readonly hang: { readonly argument: null; readonly result: never; readonly event: 'begun' };
  /** An error outside of a call. */
  readonly crash: { readonly argument: null; readonly result: never; readonly event: never };
}
