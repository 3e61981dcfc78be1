/** ONNX Runtime's own operators, such as FusedMatMul. */
export const CONTRIB = { domain: 'com.microsoft', version: 1 } as const;
