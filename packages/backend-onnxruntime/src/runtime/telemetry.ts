/** Read by `onnxruntime-node` when a process makes its first session; importing the module reports nothing yet. */
const SWITCH = 'ORT_DISABLE_TELEMETRY';

/**
 * Tells the engine to send no usage data and to write neither its device id nor its logs. In a worker thread, where
 * `process.env` is a copy that the engine does not see, and after the first session this has no effect.
 */
export function disableTelemetry(): void {
  const { process } = globalThis as { readonly process?: { readonly env?: { [name: string]: string } } };
  if (process?.env !== undefined) process.env[SWITCH] = '1';
}
