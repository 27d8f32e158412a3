{{- define "plimsoll.selector" -}}
app.kubernetes.io/name: plimsoll
{{- end }}

{{- define "plimsoll.labels" -}}
{{ include "plimsoll.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "plimsoll.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* "true" when a backend of the configuration is of this kind; the operator's own default is one of PrometheusRules. */}}
{{- define "plimsoll.hasBackend" -}}
{{- $backends := dig "backends" (dict "default" (dict "prometheusRule" (dict))) .root.Values.config -}}
{{- range $name, $backend := $backends }}{{ if hasKey $backend $.kind }}true{{ end }}{{ end -}}
{{- end }}
