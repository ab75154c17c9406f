{{- define "millgate.fullname" -}}
{{- $name := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) }}
{{- $name | trunc 52 | trimSuffix "-" }}
{{- end -}}

{{- define "millgate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "millgate.labels" -}}
{{ include "millgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "millgate.image" -}}
{{- if .Values.image.digest }}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end -}}

{{/* Keys of a TOML section. JSON's spelling of texts and booleans is TOML's; whole numbers come from YAML as floats. */}}
{{- define "millgate.toml" -}}
{{- range $key, $value := . }}
{{- $whole := and (kindIs "float64" $value) (eq (int64 $value | float64 | toString) (toString $value)) }}
{{ $key }} = {{ if $whole }}{{ int64 $value }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end -}}

{{/* A volume for a folder that comes from a ConfigMap or a claim. */}}
{{- define "millgate.volume" -}}
- name: {{ .name }}
{{- if .folder.configMap }}
  configMap:
    name: {{ .folder.configMap }}
{{- else }}
  persistentVolumeClaim:
    claimName: {{ required (printf "folders: %s needs `configMap` or `claim`" .name) .folder.claim }}
    readOnly: true
{{- end }}
{{- end -}}

{{- define "millgate.mount" -}}
- name: {{ .name }}
  mountPath: {{ .at }}
{{- with .folder.path }}
  subPath: {{ . }}
{{- end }}
  readOnly: true
{{- end -}}
